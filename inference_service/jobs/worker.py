"""The worker: takes jobs while there is room for them, keeps their leases alive, passes on cancellations, drains.

A Redis that is away or restarted stops nothing here: every loop tries again, and jobs in hand wait with their words.
Loops that speak with Redis end by a flag as well as by cancellation: redis-py writes under `asyncio.wait_for`, which
on Python 3.11 loses a cancellation that comes just as the write is done (python/cpython#86296).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable
from datetime import timedelta

from redis.asyncio import Redis
from redis.exceptions import RedisError

from inference_service.jobs.job import Happening, JobState
from inference_service.jobs.passing import PassedOn
from inference_service.jobs.relay import Relay
from inference_service.jobs.waiting import WaitsTold
from inference_service.models.pool import Models
from jan.inference.configurations import key_of
from jan.queue.attendance import Unattended
from jan.queue.bell import Bell, SignalKind
from jan.queue.hosts import Hosts
from jan.queue.jobs import JobQueue, TakenJob
from jan.queue.leases import LEASE_SECONDS, LeaseKind, LeaseState, LeaseWatch, renew
from jan.queue.publisher import LogPublisher
from jan.queue.scripts import Scripts
from jan.telemetry import get_logger

logger = get_logger(__name__)

_LAST_WORDS_SECONDS = 3.0
# More than are cancelled while a take travels.
_UNHEARD_CANCELS = 256
_INTERRUPTIONS = {LeaseState.CANCELLED: Happening.CANCELLED, LeaseState.LOST: Happening.LEASE_LOST}


class Worker:
    """One host's worker. `run` returns when the last job has ended after a stop."""

    def __init__(
        self,
        redis: Redis,
        models: Models,
        *,
        most_jobs: int,
        drain_time: timedelta,
        host: str = "engine host",
        lease_seconds: float = LEASE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        scripts: Scripts | None = None,
    ) -> None:
        """`most_jobs` bounds what is in hand over all models; leases are renewed four times in `lease_seconds`.

        host: what people call this host, for reasons. scripts: the queue's, when they are to read another clock.
        """
        self._scripts = scripts or Scripts.register(redis)
        self._queue = JobQueue(redis, self._scripts)
        self._publisher = LogPublisher(self._scripts)
        self._bell = Bell(redis)
        self._leases = LeaseWatch(redis, LeaseKind.JOB, lease_seconds=lease_seconds)
        self._unattended = Unattended(
            redis, self._scripts, self._queue, lease_seconds=lease_seconds, monotonic=monotonic
        )
        self._hosts = Hosts(redis, self._scripts, host, lease_seconds=lease_seconds, monotonic=monotonic)
        self._passed_on = PassedOn(monotonic)
        self._models = models
        self._told: tuple[set[str], set[str]] | None = None
        self._most_jobs = most_jobs
        self._drain_time = drain_time
        self._beat_seconds = lease_seconds / 4
        self._relays: dict[asyncio.Task[JobState], Relay] = {}
        self._unheard: deque[str] = deque(maxlen=_UNHEARD_CANCELS)
        self._job_ended = asyncio.Event()
        self._wake = asyncio.Event()
        self._missed_signals = asyncio.Event()
        self._stopping = False
        self._over = False
        models.on_change(self._wake.set)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain: take no more, let answers end, hand back or fail the rest."""
        async with self._publisher.running(), asyncio.TaskGroup() as tasks:
            taking = tasks.create_task(self._take_until_stopped(tasks), name="take")
            others = [
                tasks.create_task(self._listen(), name="listen"),
                tasks.create_task(self._tend_leases(), name="leases"),
            ]
            try:
                await stop.wait()
                tasks.create_task(self._leave(), name="leave")
                await self._drain(taking)
            finally:
                self._stopping = self._over = True
                self._wake.set()  # a cancellation that was lost (see above) must not leave the taking asleep
            for task in others:
                task.cancel()

    async def _leave(self) -> None:
        """Have no job kept for this host any more."""
        with contextlib.suppress(RedisError, OSError):
            await self._hosts.leave()

    async def _take_until_stopped(self, tasks: asyncio.TaskGroup) -> None:
        """Take whenever there may be something to take. Never cancelled, lest a job is taken and forgotten."""
        while not self._stopping:
            try:
                if self._told != self._has():
                    await self._beat()
                while taken := await self._take():
                    self._start(taken, tasks)
            except (RedisError, OSError) as error:
                logger.warning("Redis is away, no jobs are taken", error=str(error))
            except Exception:
                # What was taken has nobody now: its lease stands still, and the third time it is a dead letter.
                logger.exception("a job could not be taken")
            await self._wake.wait()
            self._wake.clear()

    async def _take(self) -> TakenJob | None:
        """The next job that there is room for."""
        if self._stopping or len(self._relays) >= self._most_jobs:
            return None
        in_hand = Counter(key_of(relay.taken.job.model) for relay in self._relays.values())
        full = {key for key, count in in_hand.items() if count >= self._models.slots(key)}
        full |= {key_of(relay.taken.job.model) for relay in self._relays.values() if relay.taken.is_alone}
        elsewhere, (running, loading) = self._hosts.elsewhere, self._has()
        # What another host loads now will run there sooner than here.
        full |= self._passed_on.resting() | (elsewhere.loading - running - loading) | set(self._models.closed())
        return await self._queue.take(full, elsewhere.running - running - loading, in_hand)

    def _has(self) -> tuple[set[str], set[str]]:
        """The models that answer here, and those on their way into this host's memory."""
        return self._models.running(), self._models.loading()

    async def _beat(self) -> None:
        """Tell the other hosts what this one has."""
        told = self._has()
        await self._hosts.beat(*told)
        self._told = told

    def _start(self, taken: TakenJob, tasks: asyncio.TaskGroup) -> None:
        """Work on a job, or hand it back when the stop came while it was on its way here."""
        log = self._publisher.open(taken.lease, published=taken.published)
        waits = WaitsTold(self._scripts, self._models, taken)
        relay = Relay(taken, self._queue, self._models, log, self._hosts, waits=waits)
        not_here = self._passed_on.why(taken.job.id)
        if self._stopping:
            relay.interrupt(Happening.DRAINED)
        elif taken.job.id in self._unheard:
            relay.interrupt(Happening.CANCELLED)
        elif not_here is not None:
            relay.pass_on(not_here)
        task = tasks.create_task(_work(relay), name=f"job-{taken.job.id}")
        self._relays[task] = relay
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[JobState]) -> None:
        relay = self._relays.pop(task)
        if relay.state is JobState.PASSED_ON and relay.not_here is not None:
            self._passed_on.note(relay.taken.job.id, key_of(relay.taken.job.model), relay.not_here)
        self._job_ended.set()
        self._wake.set()

    async def _listen(self) -> None:
        """Look at the queue whenever the bell rings, and after a while without; cancel what was cancelled."""
        async for signals in self._bell.listen():
            if self._over:
                return
            cancelled = {signal.job_id for signal in signals if signal.kind is SignalKind.CANCELLED}
            for relay in list(self._relays.values()):
                if relay.taken.job.id in cancelled:
                    relay.interrupt(Happening.CANCELLED)
            # One of them may be on its way here from the take: its next renewal would tell, two seconds later.
            self._unheard.extend(cancelled)
            if any(signal.kind is SignalKind.MISSED for signal in signals):
                self._missed_signals.set()
            self._wake.set()

    async def _tend_leases(self) -> None:
        """Renew our own leases, then release those that stand still: after an outage all of them do, ours too."""
        while not self._over:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._beat_seconds):
                    await self._missed_signals.wait()  # a renewal tells which jobs were cancelled or forgotten
            self._missed_signals.clear()
            try:
                await self._renew()
                await self._reclaim()
                await self._end_unattended()
                if not self._stopping:
                    await self._beat()
            except (RedisError, OSError) as error:
                logger.warning("Redis is away, leases are not renewed", error=str(error))
            except Exception:
                logger.exception("leases could not be renewed")

    async def _renew(self) -> None:
        relays = list(self._relays.values())
        states = await renew(self._scripts, LeaseKind.JOB, [relay.taken.lease for relay in relays])
        for relay, state in zip(relays, states, strict=True):
            if state in _INTERRUPTIONS:
                relay.interrupt(_INTERRUPTIONS[state])

    async def _reclaim(self) -> None:
        """Release jobs whose worker went silent, whichever host it was on; never one that is in hand here."""
        for stalled in await self._leases.stalled():
            leases = (relay.taken.lease for relay in self._relays.values())
            if any((lease.id, lease.token) == (stalled.id, stalled.token) for lease in leases):
                continue
            outcome = await self._queue.reclaim(stalled)
            logger.warning("lease stood still", job=stalled.id, outcome=str(outcome))

    async def _end_unattended(self) -> None:
        """Free the engines of clients whose gateway is gone, and with it their connections."""
        for job_id in await self._unattended.end():
            logger.warning("job cancelled: its gateway is gone", job=job_id)

    async def _drain(self, taking: asyncio.Task[None]) -> None:
        """Give answers time to end; what has not begun is handed back at once. Leases are tended meanwhile."""
        self._stopping = True
        self._wake.set()
        logger.info("draining", jobs=len(self._relays))
        for relay in list(self._relays.values()):
            if relay.state is JobState.TAKEN:
                relay.interrupt(Happening.DRAINED)
        for patience_seconds in (self._drain_time.total_seconds(), _LAST_WORDS_SECONDS):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_seconds):
                    await asyncio.wait({taking})
                    await self._until_idle()
            for relay in list(self._relays.values()):
                relay.interrupt(Happening.DRAINED)
        # A job may come out of the last take even now: the client's own time limits end that.
        await asyncio.wait({taking})
        # Redis is away: these cannot be ended or handed back. Their leases stand still, so they are found.
        for task in self._relays:
            task.cancel()

    async def _until_idle(self) -> None:
        while self._relays:
            self._job_ended.clear()
            await self._job_ended.wait()


async def _work(relay: Relay) -> JobState:
    """Do one job. A defect of ours costs that job this attempt, not the others their worker."""
    try:
        return await relay.run()
    except Exception:
        # Its lease stands still now, so it runs again here or elsewhere, and is given up after the third time.
        logger.exception("a job broke its worker", job=relay.taken.job.id)
        return JobState.ABANDONED
