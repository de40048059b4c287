"""Jobs as the gateway sees them: submit one, follow what it says, cancel it when nobody listens any more."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

from redis.exceptions import RedisError

from jan.backoff import Backoff
from jan.errors import DeadlineExceededError, ResourceExhaustedError, UnavailableError
from jan.inference.v1 import jobs_pb2
from jan.queue.attendance import Attendance
from jan.queue.bounds import UNBOUNDED, QueueBounds, Room
from jan.queue.follower import LogFollower
from jan.queue.jobs import JobQueue
from jan.queue.leases import RENEW_SECONDS
from jan.queue.subscription import LogEntry, LogRestartedError, LogSubscription, SlowReaderError
from jan.tasks import background
from jan.telemetry import get_logger

logger = get_logger(__name__)

IDLE_SECONDS = 5.0
# How long a follower waits for a Redis that does not answer before it gives up.
REDIS_PATIENCE_SECONDS = 30.0
# How long somebody is kept waiting for an answer, its time in the queue included (OpenAI's clients give up then).
ATTENDED_SECONDS = 600.0
# How long a gateway that stops still tries to cancel what its clients have left.
LAST_CANCELS_SECONDS = 3.0


class JobClient:
    """Submits, follows and cancels jobs; made once for the application."""

    def __init__(
        self, queue: JobQueue, follower: LogFollower, attendance: Attendance, bounds: QueueBounds = UNBOUNDED
    ) -> None:
        """`bounds` hold for what is asked now; runs that were accepted are submitted whatever waits."""
        self._queue = queue
        self._attendance = attendance
        self._follower = follower
        self._bounds = bounds
        self._cancellations: set[asyncio.Task[None]] = set()
        self._late_cancellations: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def attended(self, job: jobs_pb2.Job) -> AsyncIterator[JobEvents]:
        """Submit a job that lives only as long as somebody listens: leaving before its end cancels it.

        So does the death of this gateway: engine hosts see it go.

        Raises ResourceExhaustedError: too much waits already, and nothing was submitted. Raises UnavailableError: the
        queue does not answer. Raises DeadlineExceededError: no end within ten minutes.
        """
        async with self.followed(job.id, gathers=not job.stream) as events:
            try:
                async with asyncio.timeout(ATTENDED_SECONDS):
                    await self._attend(job)
                    await self._submit_for(events, job)
                    yield events
            except TimeoutError:
                raise DeadlineExceededError("The answer took too long.", code="timeout") from None
            finally:
                if not events.ended:
                    self.cancel_in_background(job.id)

    @asynccontextmanager
    async def outlasting(self, job: jobs_pb2.Job) -> AsyncIterator[JobEvents]:
        """Submit a job that goes on when its reader leaves; without an end ten minutes later it is cancelled.

        A reader who leaves before `JobEvents.is_named` has not been told how to find it again: then it is cancelled
        at once. Raises ResourceExhaustedError, UnavailableError: as `attended` does.
        """
        async with self.followed(job.id) as events:
            try:
                await self._submit_for(events, job)
                yield events
            finally:
                if not events.ended:
                    (self._cancel_late if events.is_named else self.cancel_in_background)(job.id)

    @asynccontextmanager
    async def followed(
        self, job_id: str, *, after: int = 0, generation: bytes = b"", gathers: bool = False
    ) -> AsyncIterator[JobEvents]:
        """Follow a job from just after an event, submitted or not yet; leaving does not end it.

        generation: of the event `after`, or of the first one for 0, which what is read must go on with. gathers: the
        answer is kept until its end, whatever its size.

        Raises UnavailableError: the queue does not answer; or, out of whatever is done meanwhile and lets it through,
        too much was left unread.
        """
        async with AsyncExitStack() as stack:
            try:
                following = self._follower.follow(job_id, after=after, generation=generation, gathers=gathers)
                subscription = await stack.enter_async_context(following)
            except (RedisError, OSError) as error:
                raise _unavailable(error) from None
            try:
                yield JobEvents(self._queue, self._follower, subscription)
            except SlowReaderError:
                raise _too_slow() from None

    async def submit(self, job: jobs_pb2.Job) -> None:
        """Enqueue a job that was accepted earlier, whatever waits; nothing happens when it is known.

        Raises UnavailableError: the queue does not answer.
        """
        try:
            await self._queue.submit(job)
        except (RedisError, OSError) as error:
            raise _unavailable(error) from None

    async def check_room(self, tenant: str, model_id: str) -> Room | None:
        """Look before a run is accepted; what is left after it. Raises ResourceExhaustedError, UnavailableError."""
        try:
            return await self._queue.check_room(tenant, jobs_pb2.ModelSpec(id=model_id), self._bounds)
        except (RedisError, OSError) as error:
            raise _unavailable(error) from None

    async def is_known(self, job_id: str) -> bool:
        """Whether the queue knows the job. Raises UnavailableError: the queue does not answer."""
        try:
            return await self._queue.is_known(job_id)
        except (RedisError, OSError) as error:
            raise _unavailable(error) from None

    async def is_retold(self, job_id: str) -> bool:
        """Whether the job tells its answer anew. Raises UnavailableError: the queue does not answer."""
        try:
            return await self._queue.is_retold(job_id)
        except (RedisError, OSError) as error:
            raise _unavailable(error) from None

    async def cancel(self, job_id: str) -> None:
        """Cancel a job; nothing happens when it is over. One whose submit comes later, as of a lost one, never runs.

        Raises UnavailableError: the queue does not answer.
        """
        try:
            await self._queue.cancel(job_id, may_come=True)
        except (RedisError, OSError) as error:
            raise _unavailable(error) from None

    def cancel_in_background(self, job_id: str) -> None:
        """As `cancel`, as soon as the queue answers; in a task of our own, since the caller's may be ending itself."""
        task = asyncio.create_task(self._cancel_when_possible(job_id), name=f"cancel-{job_id}")
        self._cancellations.add(task)
        task.add_done_callback(self._cancellations.discard)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let engine hosts see this gateway while the context is open; then wait a moment for cancellations under way.

        Those of a later time are left to the worker's own time limit. When a Redis that is away keeps others from being
        done, this gateway does not say that it leaves: engine hosts miss it then, and end what it attended.
        """
        async with background(self._beat_for_ever(), "gateway-attendance"):
            try:
                yield
            finally:
                late = list(self._late_cancellations)
                for task in late:
                    task.cancel()
                await asyncio.gather(*late, return_exceptions=True)
                all_done = await self._end_cancellations()
        try:
            if all_done:
                await self._attendance.leave()
        except (RedisError, OSError) as error:
            logger.warning("gateway did not say that it leaves", error=str(error))

    async def _end_cancellations(self) -> bool:
        """Let cancellations end in their time; False when some could not."""
        if not self._cancellations:
            return True
        _, undone = await asyncio.wait(self._cancellations, timeout=LAST_CANCELS_SECONDS)
        for task in undone:
            task.cancel()
        await asyncio.gather(*undone, return_exceptions=True)
        return not undone

    async def _attend(self, job: jobs_pb2.Job) -> None:
        try:
            await self._attendance.ensure_seen()
        except (RedisError, OSError) as error:
            raise _unavailable(error) from None
        job.attended_by = self._attendance.token

    async def _beat_for_ever(self) -> None:
        while True:
            try:
                await self._attendance.beat()
            except (RedisError, OSError) as error:
                logger.warning("gateway not seen", error=str(error))
            await asyncio.sleep(RENEW_SECONDS)

    async def _submit_for(self, events: JobEvents, job: jobs_pb2.Job) -> None:
        try:
            events.room = await self._queue.submit_within(job, self._bounds)
        except ResourceExhaustedError:
            events.ended = True  # there is nothing to cancel
            raise
        except (RedisError, OSError) as error:
            raise _unavailable(error) from None

    def _cancel_late(self, job_id: str) -> None:
        task = asyncio.create_task(self._wait_and_cancel(job_id), name=f"cancel-late-{job_id}")
        self._late_cancellations.add(task)
        task.add_done_callback(self._late_cancellations.discard)

    async def _wait_and_cancel(self, job_id: str) -> None:
        await asyncio.sleep(ATTENDED_SECONDS)
        await self._cancel_when_possible(job_id)

    async def _cancel_when_possible(self, job_id: str) -> None:
        """Cancel as soon as Redis answers: as long as this gateway lives, nobody else will. No job lives longer."""
        backoff = Backoff()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ATTENDED_SECONDS):
                while True:
                    try:
                        return await self.cancel(job_id)
                    except UnavailableError as error:
                        logger.warning("job not cancelled yet", job=job_id, error=error.message)
                    await backoff.wait()


class JobEvents:
    """What one job says, in order, each event once."""

    def __init__(self, queue: JobQueue, follower: LogFollower, subscription: LogSubscription) -> None:
        self._queue = queue
        self._follower = follower
        self._subscription = subscription
        self.ended = False
        self.room: Room | None = None
        """What the job's owner may still send; None for a job that nothing bounds, or that was known already."""
        self.is_named = False
        """Whether the reader is told how to follow the job again; set by whoever opens the stream that says so."""
        self.before_end: Callable[[], Awaitable[None]] | None = None
        """Awaited before the job's end is told, if there is anything to wait for."""
        self.number = subscription.cursor
        """The number of the last event that was yielded or taken."""
        self._heard_at = time.monotonic()

    @contextmanager
    def pouring(self, take: Callable[[list[jobs_pb2.JobEvent], int], bool]) -> Iterator[None]:
        """Offer what comes before the end to `take` first, with the number of its first event.

        It returns True for events that are done with then; any others are yielded. See `LogSubscription.pouring`.
        """

        def sink(entries: list[LogEntry]) -> bool:
            if entries[-1].ends or not take(_events(entries), entries[0].number):
                return False
            self._heard_at = time.monotonic()
            self.number = entries[-1].number
            return True

        with self._subscription.pouring(sink):
            yield

    def when_dropped(self, hurry: Callable[[], None]) -> None:
        """Have `hurry` called at once when too much was left unread; the reader hears of it by `batches`."""
        self._subscription.on_drop = hurry

    async def batches(self, idle_seconds: float | None = None) -> AsyncIterator[list[jobs_pb2.JobEvent]]:
        """Yield events as they come, those that came together as one list, an empty one in silence; ends with the job.

        Raises UnavailableError: Redis forgot the job or does not answer; SlowReaderError: too much was left unread.
        """
        self._heard_at = time.monotonic()
        try:
            async for entries in self._subscription.batches(idle_seconds or IDLE_SECONDS):
                if entries:
                    self._heard_at = time.monotonic()
                    self.ended, self.number = entries[-1].ends, entries[-1].number
                    if self.ended and self.before_end is not None:
                        await self.before_end()
                else:
                    await self._check_alive()
                yield _events(entries)
        except LogRestartedError:
            raise _lost() from None

    async def _check_alive(self) -> None:
        try:
            known = await self._queue.is_known(self._subscription.log_id)
            known = known and await self._follower.holds(self._subscription)
        except (RedisError, OSError):
            if time.monotonic() - self._heard_at > REDIS_PATIENCE_SECONDS:
                raise queue_unavailable() from None
            return
        if not known:
            raise _lost()


def _events(entries: list[LogEntry]) -> list[jobs_pb2.JobEvent]:
    return [jobs_pb2.JobEvent.FromString(entry.payload) for entry in entries]


def queue_unavailable() -> UnavailableError:
    """The error for a Redis that does not answer."""
    return UnavailableError("The queue is not answering; try again.", code="queue_unavailable", retry_after_seconds=1)


def _unavailable(error: Exception) -> UnavailableError:
    logger.warning("queue does not answer", error=str(error))
    return queue_unavailable()


def _too_slow() -> UnavailableError:
    """Of an answer that is not told while it comes: nothing of it was sent, and it can be asked for again."""
    return UnavailableError(
        "The answer came faster than it was read here; send the request again.",
        code="slow_reader",
        retry_after_seconds=1,
    )


def _lost() -> UnavailableError:
    return UnavailableError("The server lost this request; send it again.", code="job_lost", retry_after_seconds=1)
