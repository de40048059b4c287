"""One run from accepted to its end.

May be repeated from the start at any time, here or on another gateway: the job is submitted once by its id, the
answer is rebuilt from the job's log, records are written by id, events are emitted by count (see `RunLog`).
"""

from __future__ import annotations

import time

import orjson

from gateway.convert.runs import run_from_proto, status_name
from gateway.queueing.jobs import JobClient
from gateway.runs import derived_ids, states
from gateway.runs.answer import Answer, now
from gateway.runs.log import RunLog, event_frame
from gateway.runs.request import job_for
from gateway.services.storage import StorageClient
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
from jan.queue.follower import SlowReaderError
from jan.storage.v1 import runs_pb2
from jan.type.v1.usage_pb2 import Usage

# Errors that may pass by themselves. Anything else ends the run.
TEMPORARY = (UnavailableError, DeadlineExceededError, ConflictError, StorageFullError, SlowReaderError)
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


class RunExecution:
    """Executes one run under a lease that the caller renews."""

    def __init__(
        self, storage: StorageClient, jobs: JobClient, log: RunLog, run: runs_pb2.Run, deadline: float
    ) -> None:
        """`deadline`: when the run expires, by `time.monotonic`."""
        self._storage = storage
        self._jobs = jobs
        self._log = log
        self._run = run
        self._answer: Answer | None = None
        self._job_id = derived_ids.job_id(run.id, 1)
        self._deadline = deadline
        self._expired = False
        self._stopping_since: float | None = None
        self._ended = False

    async def execute(self) -> None:
        """Work until the run has ended.

        Raises LeaseLostError: another gateway has it. Raises one of TEMPORARY or redis.RedisError: execute it again.
        Raises any other JanError: it cannot be answered; call `fail`.
        """
        await self._log.emit(self._frame("created"), self._frame("queued"))
        async with self._jobs.followed(self._job_id) as events:
            if not await self._jobs.is_known(self._job_id):
                await self._jobs.submit(await self._new_job())
            await self._stop_if_due()
            async for batch in events.batches():
                await self._take_in(batch)
                if not batch or time.monotonic() >= self._deadline:
                    await self._stop_if_due()
                if self._ended:
                    return

    async def fail(self, error: JanError) -> None:
        """End the run as failed, with what was said kept, and free what still works for it."""
        await self._jobs.cancel(self._job_id)
        await self._fail(error)

    async def _new_job(self) -> jobs_pb2.Job:
        remaining = max(0, int(self._deadline - time.monotonic()))
        return await job_for(self._storage, self._run, 1, remaining + _JOB_GRACE_SECONDS)

    async def _stop_if_due(self) -> None:
        """Cancel the job when the run was cancelled, through whichever gateway, or has expired.

        A job whose worker died answers no cancel: after some patience the run ends without it.
        """
        self._run = await self._storage.get_run(self._run.thread_id, self._run.id)
        self._expired = self._expired or time.monotonic() >= self._deadline
        if not self._expired and self._run.status != states.CANCELLING:
            return
        now_seconds = time.monotonic()
        self._stopping_since = self._stopping_since or now_seconds
        await self._jobs.cancel(self._job_id)
        if now_seconds - self._stopping_since >= STOP_PATIENCE_SECONDS:
            await self._cancel()

    async def _take_in(self, batch: list[jobs_pb2.JobEvent]) -> None:
        frames: list[bytes] = []
        for event in batch:
            match event.WhichOneof("event"):
                case "chunk":
                    answer = self._answer or await self._begin()
                    frames += answer.add(orjson.loads(event.chunk.data))
                case "completed":
                    await self._log.emit(*frames)
                    await self._complete(event.completed.usage)
                case "failed":
                    await self._log.emit(*frames)
                    await self._fail(JanError.from_detail(event.failed.error))
                case "cancelled":
                    await self._log.emit(*frames)
                    await self._cancel()
        if batch and batch[-1].HasField("chunk"):
            await self._log.emit(*frames)

    async def _begin(self) -> Answer:
        """The first sign of the engine: the run is in progress, its step and message begin."""
        if self._run.status == states.QUEUED:
            await self._change(states.IN_PROGRESS)
        answer = Answer(self._run, 1)
        stored = await self._storage.put_run_step(answer.step)
        answer.begun_at(stored.created_at)
        self._answer = answer
        await self._log.emit(self._frame("in_progress"), *answer.begun_frames())
        return answer

    async def _fail(self, error: JanError) -> None:
        if self._answer is not None:
            self._answer.cut("run_failed", runs_pb2.RUN_STEP_STATUS_FAILED, None)
        await self._end(states.FAILED, None, last_error=_run_error(error))

    async def _complete(self, usage: Usage) -> None:
        answer = self._answer or await self._begin()
        if answer.finish_reason == "length":
            answer.cut("max_tokens", runs_pb2.RUN_STEP_STATUS_COMPLETED, usage)
            await self._end(states.INCOMPLETE, usage, incomplete_reason="max_completion_tokens")
        else:
            answer.complete(usage)
            await self._end(states.COMPLETED, usage)

    async def _cancel(self) -> None:
        if self._expired:
            status, step_status, reason = states.EXPIRED, runs_pb2.RUN_STEP_STATUS_EXPIRED, "run_expired"
        else:
            status, step_status, reason = states.CANCELLED, runs_pb2.RUN_STEP_STATUS_CANCELLED, "run_cancelled"
        if self._answer is not None:
            self._answer.cut(reason, step_status, None)
        await self._end(status, None)

    async def _end(
        self,
        status: states.Status,
        usage: Usage | None,
        *,
        incomplete_reason: str = "",
        last_error: runs_pb2.RunError | None = None,
    ) -> None:
        """Store the answer, then the step, then the run's end, and tell of it only then: clients read at once."""
        frames: list[bytes] = []
        if self._answer is not None:
            self._answer.message.CopyFrom(await self._storage.create_message(self._answer.message))
            await self._storage.put_run_step(self._answer.step)
            frames = self._answer.ended_frames()
        await self._change(status, usage, incomplete_reason, last_error)
        await self._log.close(*frames, self._frame(status_name(self._run.status)))
        self._ended = True

    async def _change(
        self,
        status: states.Status,
        usage: Usage | None = None,
        incomplete_reason: str = "",
        last_error: runs_pb2.RunError | None = None,
    ) -> None:
        """Write the run's new status; when somebody wrote in between, decide again on what they wrote."""
        while states.may_become(self._run.status, status):
            changed = runs_pb2.Run()
            changed.CopyFrom(self._run)
            changed.status = status
            changed.incomplete_reason = incomplete_reason
            if status == states.IN_PROGRESS:
                changed.started_at.CopyFrom(now())
            if status in _RUN_ENDS:
                getattr(changed, _RUN_ENDS[status]).CopyFrom(now())
            if usage is not None:
                changed.usage.CopyFrom(usage)
            if last_error is not None:
                changed.last_error.CopyFrom(last_error)
            try:
                self._run = await self._storage.update_run(changed)
                return
            except ConflictError:
                self._run = await self._storage.get_run(self._run.thread_id, self._run.id)

    def _frame(self, event: str) -> bytes:
        return event_frame(f"thread.run.{event}", run_from_proto(self._run))


def _run_error(error: JanError) -> runs_pb2.RunError:
    """The error in the words that OpenAI has for runs."""
    match error:
        case ResourceExhaustedError():
            code = "rate_limit_exceeded"
        case InvalidArgumentError():
            code = "invalid_prompt"
        case _:
            code = "server_error"
    return runs_pb2.RunError(code=code, message=error.message)
