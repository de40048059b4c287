"""One job, from being taken to its last event: have the engine asked (`asking.py`), and end it exactly once.

Delivery is at least once. What makes a second delivery harmless: every event is written through the lease, whose token
is refused as soon as somebody else holds the job (`jan.queue.log`), and a repeated write changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from redis.exceptions import RedisError

from inference_service.answers.continuation import is_plain, text_of, without_echo
from inference_service.engines import process
from inference_service.engines.client import ENGINE_UNREACHABLE
from inference_service.engines.errors import EngineLostError
from inference_service.engines.purpose import check_purpose
from inference_service.jobs.asking import Asking, request_of, worker_lost
from inference_service.jobs.job import Happening, JobState, next_state
from inference_service.jobs.passing import may_be_elsewhere
from inference_service.jobs.telling import Telling
from inference_service.jobs.waiting import WaitsTold
from inference_service.models.pool import Models
from jan.backoff import Backoff
from jan.errors import DeadlineExceededError, InternalError, JanError, UnavailableError
from jan.queue.hosts import Hosts
from jan.queue.jobs import JobQueue, TakenJob
from jan.queue.leases import LeaseLostError
from jan.queue.publisher import PublishedLog
from jan.tasks import end
from jan.telemetry import get_logger, request_id_var

logger = get_logger(__name__)

T = TypeVar("T")

_TOO_LONG = DeadlineExceededError("The answer took too long.", code="timeout")


class Relay:
    """One taken job. `run` does the work; `interrupt` ends it early from outside."""

    def __init__(
        self,
        taken: TakenJob,
        queue: JobQueue,
        models: Models,
        log: PublishedLog,
        host: Hosts,
        *,
        waits: WaitsTold,
    ) -> None:
        """`log` is the job's, open under its lease. `host` is this one."""
        self.taken = taken
        self.state = JobState.TAKEN
        self._job = taken.job
        self._queue = queue
        self._models = models
        self._telling = Telling(log, taken.job.prompt_tokens, taken.published)
        self._host = host
        self._waits = waits
        self.not_here: JanError | None = None
        """Why this host cannot serve it."""
        self._interruption: Happening | None = None
        self._answering: asyncio.Task[None] | None = None
        self._continuable = False
        self._engine_died = False
        self._cause = ""

    def interrupt(self, happening: Happening) -> None:
        """End the job because of something from outside; the first interruption counts.

        An answer whose end is on its way to its log is not ended in another way.
        """
        if self._interruption is None:
            self._interruption = happening
            if self._answering is not None and not self._telling.is_ending:
                self._answering.cancel()

    def pass_on(self, why: JanError) -> None:
        """Give the job back for another host without trying."""
        self.not_here = why
        self.interrupt(Happening.NOT_HERE)

    async def run(self) -> JobState:
        """Do the job, then end or release it; returns the last state. Raises nothing but its own cancellation."""
        request_id_var.set(self._job.request_id)
        self._answering = asyncio.create_task(self._answer(), name=f"answer-{self._job.id}")
        if self._interruption is not None:
            self._answering.cancel()
        seconds = self._job.timeout.ToTimedelta().total_seconds() if self._job.HasField("timeout") else None
        try:
            in_time, _ = await asyncio.wait({self._answering}, timeout=seconds)
            if not in_time:
                self.interrupt(Happening.TIMED_OUT)
                await asyncio.wait({self._answering})
            happening, error = self._verdict(self._answering)
            self._happened(happening)
            await self._close(error)
        finally:
            await end(self._answering)
            self._telling.close()
        logger.info("job", job=self._job.id, model=self._job.model.id, state=str(self.state), after=str(happening))
        return self.state

    async def _answer(self) -> None:
        """Ask the model and publish its answer to the end, going on from what an earlier attempt has said."""
        check_purpose(self._job.model, self._job.endpoint)
        request = request_of(self._job)
        said = await self._said_before(request)
        async with self._waits.model() as running:
            self._continuable = is_plain(request) and running.engine.continues("")
            self._happened(Happening.ASKED)
            self._telling.asked()
            asking = Asking(self.taken, request, running, self._telling, self._spoke)
            try:
                await asking.answer(said)
            except EngineLostError as lost:
                self._engine_died = await self._models.notice_crash(running, is_dead=lost.is_dead)
                raise
            running.succeeded()

    async def _said_before(self, request: Mapping[str, Any]) -> str:
        """The text that earlier attempts have published. Raises UnavailableError: nobody can go on from there."""
        if not self.taken.published:
            return ""
        events = await self._persist(partial(self._queue.said, self.taken))
        text = text_of(events) if events is not None and is_plain(request) else None
        said = without_echo(text, request) if text is not None else None
        if said is None:
            raise worker_lost()
        return said

    async def _close(self, error: JanError | None) -> None:
        """Say how it ended, unless that was said with the answer or is no longer ours to say."""
        try:
            match self.state:
                case JobState.FAILED:
                    await self._telling.fail((error or worker_lost()).to_detail())
                case JobState.CANCELLED:
                    await self._telling.cancelled()
                case JobState.RELEASED:
                    await self._telling.rest()
                    await self._give_back()
                case JobState.PASSED_ON:
                    await self._pass_on()
                case _:
                    pass
        except LeaseLostError:
            self.state = JobState.ABANDONED

    async def _give_back(self) -> None:
        """Have the job run again. That this worker stops does not count as one of its tries."""
        spent_tokens = self._telling.spent_tokens
        if self._engine_died:
            await self._persist(partial(self._queue.lose_engine, self.taken, self._cause, spent_tokens=spent_tokens))
        elif self._interruption is Happening.DRAINED:
            await self._persist(partial(self._queue.hand_back, self.taken, spent_tokens=spent_tokens))
        else:
            await self._persist(partial(self._queue.try_again, self.taken, spent_tokens=spent_tokens))

    async def _pass_on(self) -> None:
        """Give the job back for another host; when no living host can serve it, end it with the reasons."""
        assert self.not_here is not None
        detail = self.not_here.to_detail()
        why = f"{self._host.name}: {detail.message}"
        reasons = await self._persist(partial(self._queue.pass_on, self.taken, self._host.id, why))
        if not reasons:
            return
        if len(reasons) > 1:
            detail.message = f"No engine host can serve model {self._job.model.id}. {' '.join(reasons)}"
        self.state = JobState.FAILED
        await self._telling.fail(detail)

    async def _persist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask Redis however long it is away: each question may be repeated."""
        backoff = Backoff()
        while True:
            try:
                return await ask()
            except (RedisError, OSError) as error:
                logger.warning("Redis is away, an answer waits", job=self._job.id, error=str(error))
                await backoff.wait()

    def _spoke(self) -> None:
        if self.state is not JobState.SPEAKING:
            self._happened(Happening.SPOKE)

    def _happened(self, happening: Happening) -> None:
        attempt = self.taken.lease.attempt
        self.state = next_state(self.state, happening, attempt=attempt, continuable=self._continuable)

    def _engine_lost(self) -> UnavailableError:
        """What to tell the client if the job cannot run again: with nothing said, the engine's trouble is the news."""
        if self.state is JobState.SPEAKING or self.taken.published:
            return worker_lost()
        message = (
            f"The engine of model {self._job.model.id} did not answer. Try again; "
            "if it goes on, the log of the inference service says why."
        )
        return UnavailableError(message, code=ENGINE_UNREACHABLE, retry_after_seconds=5)

    def _verdict(self, answering: asyncio.Task[None]) -> tuple[Happening, JanError | None]:
        """What happened, seen from the task that answered; and what to tell the client if it failed."""
        if answering.cancelled():
            assert self._interruption is not None
            return self._interruption, _TOO_LONG if self._interruption is Happening.TIMED_OUT else None
        match answering.exception():
            case None:
                return Happening.FINISHED, None
            case LeaseLostError():
                return Happening.LEASE_LOST, None
            case EngineLostError() as lost:
                logger.warning("engine lost", job=self._job.id, reason=str(lost))
                return Happening.ENGINE_DIED if self._engine_died else Happening.ENGINE_LOST, self._engine_lost()
            case UnavailableError(code=process.ENGINE_CRASHED) as killed if self.state is JobState.TAKEN:
                logger.warning("engine lost while it loaded", job=self._job.id, reason=killed.message)
                self._engine_died, self._cause = True, killed.message
                return Happening.ENGINE_DIED, killed
            case JanError() as refusal if self.state is JobState.TAKEN and may_be_elsewhere(refusal):
                self.not_here = refusal
                return Happening.NOT_HERE, refusal
            case JanError() as refusal:
                return Happening.REFUSED, refusal
            case defect:
                logger.error("job failed", job=self._job.id, exc_info=defect)
                return Happening.REFUSED, InternalError("The server failed on this request.")
