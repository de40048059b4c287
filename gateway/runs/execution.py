"""One round of a run: from accepted, or from its tool outputs, to its end or to the calls that it waits for.

May be repeated from the start at any time, here or on another gateway: the job is submitted once by its id, the
answer is rebuilt from the job's log, records are written by id, events are emitted by count (see `RunLog`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import orjson

from gateway.convert.json_fields import from_text, to_text
from gateway.convert.runs import run_from_proto, status_name
from gateway.images.shown import Images
from gateway.models.schemas import as_sent
from gateway.queueing.failures import used_of
from gateway.queueing.jobs import JobClient
from gateway.runs import derived_ids, states
from gateway.runs.calls import Calls, places_in
from gateway.runs.file_search import file_search_tool, search_frames, search_step, told_excerpts
from gateway.runs.log import RunLog, event_frame
from gateway.runs.request import job_for
from gateway.runs.search_item import SearchItem
from gateway.runs.steps import now, step_frame
from gateway.runs.truncation import LimitSpentError
from gateway.runs.turn import Turn
from gateway.services.inference import InferenceClient
from gateway.services.storage import StorageClient
from gateway.vector_stores.excerpts import Excerpt
from gateway.vector_stores.file_search import SearchStoppedError
from gateway.vector_stores.search import ChunkSearcher
from jan.errors import (
    ConflictError,
    DeadlineExceededError,
    InvalidArgumentError,
    JanError,
    ResourceExhaustedError,
    StorageFullError,
    UnavailableError,
)
from jan.inference.v1 import jobs_pb2
from jan.storage.v1 import runs_pb2
from jan.type.v1.usage_pb2 import Usage

# Errors that may pass by themselves. Anything else ends the run.
TEMPORARY = (UnavailableError, DeadlineExceededError, ConflictError, StorageFullError)
# The worker ends a job that outlives its run, should the gateway not be there to do so.
_JOB_GRACE_SECONDS = 30
# Longer than a lease, so that a job whose worker died has been released and cancelled by another before.
STOP_PATIENCE_SECONDS = 12.0

_RUN_ENDS = {
    states.CANCELLED: "cancelled_at",
    states.FAILED: "failed_at",
    states.COMPLETED: "completed_at",
    states.INCOMPLETE: "completed_at",
}


class RoundOverError(Exception):
    """The run has gone on to another round meanwhile, so this one is over."""


class RunExecution:
    """Executes one round of a run under a lease that the caller renews."""

    def __init__(
        self,
        storage: StorageClient,
        inference: InferenceClient,
        jobs: JobClient,
        searcher: ChunkSearcher,
        log: RunLog,
        *,
        images: Images,
        run: runs_pb2.Run,
        deadline: float,
    ) -> None:
        """`deadline`: when the run expires, by `time.monotonic`."""
        self._inference = inference
        self._storage = storage
        self._jobs = jobs
        self._searcher = searcher
        self._images = images
        self._log = log
        self._run = run
        self._round = run.round
        self._turn: Turn | None = None
        self._search: SearchItem | None = None
        self._sources: Sequence[Excerpt] = ()
        self._is_going = False
        self._job_id = derived_ids.job_id(run.id, run.round)
        self._deadline = deadline
        self._expired = False
        self._stopping_since: float | None = None
        self._ended = False

    async def execute(self) -> None:
        """Work until the run has ended or waits for tool outputs.

        Raises LeaseLostError: another gateway has it. Raises one of TEMPORARY or redis.RedisError: execute it again.
        Raises RoundOverError. Raises any other JanError: it cannot be answered; call `fail`.
        """
        await self._log.emit(await self._opening(), self._frame("queued"))
        try:
            await self._search_files()
        except SearchStoppedError:
            await self._cancel()
            return
        async with self._jobs.followed(self._job_id) as events:
            if await self._jobs.is_known(self._job_id):
                thread = await self._storage.all_messages(self._run.thread_id)
                self._sources = await told_excerpts(self._storage, self._run, thread)
            elif not await self._submit():
                return
            await self._stop_if_due()
            async for batch in events.batches():
                await self._take_in(batch)
                if not batch or time.monotonic() >= self._deadline:
                    await self._stop_if_due()
                if self._ended:
                    return

    async def fail(self, error: JanError) -> None:
        """End the run as failed, with what was said kept, and free what still works for it."""
        await self._fail(error)
        # Not before: should the end not be stored at once, a cancelled job would say that the run was cancelled.
        self._jobs.cancel_in_background(self._job_id)

    async def _opening(self) -> bytes:
        """The first event: the run is there or, in a later round, the calls before it have their outputs."""
        if self._round == 1:
            return self._frame("created")
        step_id = derived_ids.calls_step_id(self._run.id, self._round - 1)
        return step_frame(await self._storage.get_run_step(self._run.thread_id, self._run.id, step_id))

    async def _search_files(self) -> None:
        """Search the run's vector stores, before its first round.

        Raises SearchStoppedError: the run was cancelled or expired while its files were waited for.
        """
        if states.is_response(self._run):
            await self._search_for_response()
        elif self._round == 1 and (
            step := await search_step(self._storage, self._searcher, self._run, self._must_stop)
        ):
            await self._go_on()
            await self._log.emit(*search_frames(step))

    async def _search_for_response(self) -> None:
        """The same, told as it begins; its end once it is stored. Raises as `_search_files`."""
        if file_search_tool(self._run) is None:
            return
        said = await self._storage.all_messages(self._run.thread_id)
        item = self._search = SearchItem.of(self._run, said)
        if item is None:
            return
        await self._go_on()
        await self._log.emit(item.begun_frame())
        await item.make(self._storage, self._searcher, self._must_stop)
        await self._storage.create_message(item.message)
        await self._log.emit(item.ended_frame())

    async def _submit(self) -> bool:
        """Have the model asked; False when that is not to be, and the round is over."""
        if self._run.status == states.REQUIRES_ACTION:  # asked long ago: Redis forgot the answer, storage did not
            await self._log.close(self._frame("requires_action"))
            return False
        seconds = max(0, int(self._deadline - time.monotonic())) + _JOB_GRACE_SECONDS
        try:
            job, self._sources = await job_for(self._storage, self._inference, self._images, self._run, seconds)
        except LimitSpentError as spent:
            await self._end(states.INCOMPLETE, None, incomplete_reason=spent.limit)
            return False
        await self._jobs.submit(job)
        return True

    async def _stop_if_due(self) -> None:
        """Cancel the job when the run was cancelled, through whichever gateway, or has expired.

        A job whose worker died answers no cancel: after some patience the run ends without it.
        """
        if not await self._must_stop():
            return
        now_seconds = time.monotonic()
        self._stopping_since = self._stopping_since or now_seconds
        await self._jobs.cancel(self._job_id)
        if now_seconds - self._stopping_since >= STOP_PATIENCE_SECONDS:
            await self._cancel()

    async def _must_stop(self) -> bool:
        """Whether the run was cancelled or has expired. Raises RoundOverError."""
        await self._read_run()
        self._expired = self._expired or time.monotonic() >= self._deadline
        return self._expired or self._run.status == states.CANCELLING

    async def _take_in(self, batch: list[jobs_pb2.JobEvent]) -> None:
        frames: list[bytes] = []
        for event in batch:
            match event.WhichOneof("event"):
                case "chunk":
                    turn = self._turn or await self._begin()
                    frames += await turn.take_in(orjson.loads(event.chunk.data))
                case "completed":
                    await self._log.emit(*frames)
                    await self._complete(event.completed.usage)
                case "failed":
                    await self._log.emit(*frames)
                    await self._fail(JanError.from_detail(event.failed.error), used_of(event))
                case "cancelled":
                    await self._log.emit(*frames)
                    await self._cancel(used_of(event))
        if batch and batch[-1].HasField("chunk"):
            await self._log.emit(*frames)

    async def _begin(self) -> Turn:
        """The first sign of the engine."""
        await self._go_on()
        may_call = bool(from_text(self._run.tools_json, []))
        self._turn = Turn(self._storage, self._run, may_call=may_call, sources=self._sources)
        return self._turn

    async def _go_on(self) -> None:
        """The run is in progress, which is told once in a round."""
        if self._is_going:
            return
        self._is_going = True
        if self._run.status == states.QUEUED:
            await self._change(states.IN_PROGRESS)
        await self._log.emit(self._frame("in_progress"))

    async def _fail(self, error: JanError, usage: Usage | None = None) -> None:
        last_error = _run_error(error, places_in(self._run))
        if self._turn is not None:
            self._turn.fail(last_error, usage)
        await self._end(states.FAILED, usage, last_error=last_error)

    async def _complete(self, usage: Usage) -> None:
        turn = self._turn or await self._begin()
        await self._log.emit(*await turn.end())
        if turn.finish_reason == "length":
            turn.cut("max_tokens", runs_pb2.RUN_STEP_STATUS_COMPLETED, usage)
            await self._end(states.INCOMPLETE, usage, incomplete_reason="max_completion_tokens")
        elif turn.calls is not None and not states.is_response(self._run):
            await self._require_action(turn, turn.calls, usage)
        else:
            turn.complete(usage)
            await self._end(states.COMPLETED, usage)

    async def _require_action(self, turn: Turn, calls: Calls, usage: Usage) -> None:
        """Store the calls and that the run waits for their outputs, and tell of it only then."""
        calls.close(usage)
        turn.complete_answers(None)
        frames = await turn.store_message()
        await self._change(states.REQUIRES_ACTION, usage, required_action=calls.required_action, steps=[calls.step])
        if self._run.status != states.REQUIRES_ACTION:  # somebody cancelled it meanwhile
            await self._cancel(usage)
            return
        await self._log.close(*frames, self._frame("requires_action"))
        self._ended = True

    async def _cancel(self, usage: Usage | None = None) -> None:
        """End the run as cancelled or expired. usage: what the round cost so far; None when nobody knows."""
        if self._expired:
            status, step_status, reason = states.EXPIRED, runs_pb2.RUN_STEP_STATUS_EXPIRED, "run_expired"
        else:
            status, step_status, reason = states.CANCELLED, runs_pb2.RUN_STEP_STATUS_CANCELLED, "run_cancelled"
        if self._turn is not None:
            self._turn.cut(reason, step_status, usage)
        await self._end(status, usage)

    async def _end(
        self,
        status: states.Status,
        usage: Usage | None,
        *,
        incomplete_reason: str = "",
        last_error: runs_pb2.RunError | None = None,
    ) -> None:
        """Store the answer, then the step, then the run's end, and tell of it only then: clients read at once."""
        frames = [] if self._turn is None else await self._turn.store()
        if self._search is not None and not self._search.is_complete:
            self._search.cut("failed" if status == states.FAILED else "incomplete")
            await self._storage.create_message(self._search.message)
            frames.append(self._search.ended_frame())
        await self._change(status, usage, incomplete_reason=incomplete_reason, last_error=last_error)
        await self._log.close(*frames, self._frame(status_name(self._run.status)))
        self._ended = True

    async def _change(
        self,
        status: states.Status,
        usage: Usage | None = None,
        *,
        incomplete_reason: str = "",
        last_error: runs_pb2.RunError | None = None,
        required_action: dict[str, Any] | None = None,
        steps: Sequence[runs_pb2.RunStep] = (),
    ) -> None:
        """Write the run's new status; when somebody wrote in between, decide again on what they wrote.

        usage: this round's. Raises RoundOverError.
        """
        while states.may_become(self._run.status, status):
            changed = runs_pb2.Run()
            changed.CopyFrom(self._run)
            changed.status = status
            changed.incomplete_reason = incomplete_reason
            changed.required_action_json = to_text(required_action)
            if status == states.IN_PROGRESS and not changed.HasField("started_at"):
                changed.started_at.CopyFrom(now())
            if status in _RUN_ENDS:
                getattr(changed, _RUN_ENDS[status]).CopyFrom(now())
            if usage is not None:
                _add(changed.usage, usage)
            if last_error is not None:
                changed.last_error.CopyFrom(last_error)
            try:
                self._run = await self._storage.update_run(changed, steps)
                return
            except ConflictError:
                await self._read_run()

    async def _read_run(self) -> None:
        """The run as it is now. Raises RoundOverError."""
        self._run = await self._storage.get_run(self._run.thread_id, self._run.id)
        if self._run.round != self._round:
            raise RoundOverError

    def _frame(self, event: str) -> bytes:
        return event_frame(f"thread.run.{event}", run_from_proto(self._run))


def _add(sum_: Usage, usage: Usage) -> None:
    sum_.prompt_tokens += usage.prompt_tokens
    sum_.completion_tokens += usage.completion_tokens
    sum_.cached_tokens += usage.cached_tokens
    for field, count in usage.completion_tokens_details.ListFields():
        told = sum_.completion_tokens_details
        setattr(told, field.name, getattr(told, field.name) + count)


def _run_error(error: JanError, places: Sequence[str]) -> runs_pb2.RunError:
    """The error in the words that OpenAI has for runs, and one more. places: see `as_sent`."""
    match error:
        case InvalidArgumentError(code=refusal) if refusal in states.REFUSALS:  # told as `invalid_prompt`
            code = refusal
        case ResourceExhaustedError():
            code = "rate_limit_exceeded"
        case InvalidArgumentError():
            code = "invalid_prompt"
        case _:
            code = "server_error"
    return runs_pb2.RunError(code=code, message=error.message, param=as_sent(error.param, places))
