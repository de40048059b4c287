"""The runs that this gateway executes, and its part in seeing that every accepted run reaches an end.

A gateway starts the runs it accepts. All gateways look every few seconds for runs that nobody works on, because
their gateway died or Redis forgot them, and take them over (docs/promises.md P6, P8).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.http.metrics import GatewayMetrics
from gateway.images.shown import Images
from gateway.queueing.holdings import Holdings
from gateway.queueing.jobs import JobClient
from gateway.queueing.leftovers import LeftJobs
from gateway.queueing.places import QueueClient
from gateway.runs import derived_ids, states
from gateway.runs.execution import TEMPORARY, RoundOverError, RunExecution
from gateway.runs.log import RunLog, error_frame
from gateway.runs.retelling import Retellings
from gateway.runs.waiting import end_waiting
from gateway.services.inference import InferenceClient
from gateway.services.storage import StorageClient
from gateway.vector_stores.search import ChunkSearcher
from jan.backoff import Backoff
from jan.errors import ConflictError, FailedPreconditionError, InternalError, JanError, NotFoundError
from jan.ids import RunId
from jan.queue.leases import RENEW_SECONDS, LeaseKind, LeaseLostError, LeaseWatch
from jan.queue.log import LogWriter
from jan.queue.runs import HeldRun, RunLeases
from jan.queue.scripts import Scripts
from jan.storage.v1 import runs_pb2
from jan.tasks import background
from jan.telemetry import get_logger

logger = get_logger(__name__)

RECONCILE_SECONDS = 5.0
# What may pass by itself: the execution is repeated from its start.
REPEATED = (*TEMPORARY, RedisError, OSError)


class RunExecutor:
    """Executes runs in tasks of its own, so that a run outlives the request that asked for it."""

    def __init__(
        self,
        redis: Redis,
        scripts: Scripts,
        storage: StorageClient,
        *,
        inference: InferenceClient,
        jobs: JobClient,
        queue: QueueClient,
        searcher: ChunkSearcher,
        images: Images,
        metrics: GatewayMetrics,
    ) -> None:
        self._inference = inference
        self._scripts = scripts
        self._storage = storage
        self._jobs = jobs
        self._queue = queue
        self._left_jobs = LeftJobs(queue, jobs, RunId.prefix)
        self._searcher = searcher
        self._images = images
        self._metrics = metrics
        self._leases = RunLeases(redis, scripts)
        self.retellings = Retellings(self._leases)
        self._watch = LeaseWatch(redis, LeaseKind.RUN)
        self._holdings = Holdings(scripts, self._leases, RENEW_SECONDS)
        self._deadlines: dict[str, float] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Renew leases and look for orphaned runs while the context is open; let go of all runs when it closes."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._holdings.running())
            await stack.enter_async_context(background(self._reconcile_for_ever(), "reconcile-runs"))
            yield

    async def start(self, run: runs_pb2.Run) -> None:
        """Execute a run that was accepted just now, or has its outputs just now.

        Redis being away is no error: the reconciler comes back.
        """
        if run.round == 1:
            self._deadlines[run.id] = time.monotonic() + _lifetime_seconds(run)
        await self._take(run, "")

    def _deadline(self, run: runs_pb2.Run) -> float:
        """When a run expires, by `time.monotonic`: a clock that jumps after the first look changes nothing."""
        return self._deadlines.setdefault(run.id, _deadline_by_wall_clock(run))

    async def _take(self, run: runs_pb2.Run, seen: str) -> None:
        """Execute a run's present round unless somebody does."""
        deadline = self._deadline(run)
        try:
            held = await self._leases.acquire(_name(run), seen=seen)
        except (RedisError, OSError) as error:
            logger.warning("run waits for Redis", run=run.id, error=str(error))
            return
        if held is not None:
            work = self._execute(run, held, deadline)
            self._holdings.hold(held.lease, asyncio.create_task(work, name=f"run-{run.id}"))
            self._metrics.active_runs.set(len(self._holdings))

    async def _execute(self, run: runs_pb2.Run, held: HeldRun, deadline: float) -> None:
        writer = LogWriter(self._scripts, held.lease, published=held.published)
        try:
            await self._execute_until_ended(run, writer, deadline)
        except LeaseLostError:
            logger.warning("run went to another gateway", run=run.id)
        finally:
            self._holdings.forget(held.lease)
            self._metrics.active_runs.set(len(self._holdings))

    async def _execute_until_ended(self, run: runs_pb2.Run, writer: LogWriter, deadline: float) -> None:
        """Execute as often as it takes, under one lease. Raises LeaseLostError."""
        backoff = Backoff(most_seconds=5.0)
        while True:
            try:
                await self._execute_once(run, writer, deadline)
                return
            except LeaseLostError:
                raise
            except REPEATED as error:
                logger.warning("run waits", run=run.id, error=str(error))
            except Exception:  # whatever it is, the run still has to end: by another try here
                logger.exception("run failed, and could not be ended", run=run.id)
            await backoff.wait()

    async def _execute_once(self, run: runs_pb2.Run, writer: LogWriter, deadline: float) -> None:
        """Execute a run to its end, be it a failure. Raises LeaseLostError, or anything that lets it be repeated."""
        log = RunLog(writer)
        try:
            current = await self._storage.get_run(run.thread_id, run.id)
        except NotFoundError:
            await self._end_deleted(run, log)
            return
        if current.round != run.round:
            await log.close()
            return
        await self.retellings.note(_name(run), current, writer.published)
        execution = RunExecution(
            self._storage,
            self._inference,
            self._jobs,
            self._searcher,
            log,
            images=self._images,
            run=current,
            deadline=deadline,
        )
        try:
            await execution.execute()
        except (LeaseLostError, *REPEATED):
            raise
        except RoundOverError:
            await log.close()
        except (NotFoundError, FailedPreconditionError) as error:
            if await self._is_gone(run):
                await self._end_deleted(run, log)
            else:
                await execution.fail(error)
        except JanError as error:
            await execution.fail(error)
        except Exception:
            logger.exception("run failed", run=run.id)
            await execution.fail(InternalError("The server had an error while processing your request."))

    async def _is_gone(self, run: runs_pb2.Run) -> bool:
        try:
            await self._storage.get_run(run.thread_id, run.id)
        except NotFoundError:
            return True
        return False

    async def _end_deleted(self, run: runs_pb2.Run, log: RunLog) -> None:
        """The thread went away under its run: free the engine, tell whoever still reads, give the lease back."""
        await self._jobs.cancel(derived_ids.job_id(run.id, run.round))
        await log.close(
            error_frame(
                NotFoundError(
                    f"The thread {run.thread_id} is not here any more: it was deleted, or a backup was restored."
                )
            )
        )

    async def _reconcile_for_ever(self) -> None:
        while True:
            try:
                await self._reconcile()
            except (JanError, RedisError, OSError) as error:
                logger.warning("runs not reconciled", error=str(error))
            except Exception:  # every orphaned run depends on this loop: it outlives a mistake
                logger.exception("runs not reconciled")
            await asyncio.sleep(RECONCILE_SECONDS)

    async def _reconcile(self) -> None:
        """Take over runs whose lease stood still, start those that nobody ever took, end those that waited too long.

        And end the jobs of runs that are over.
        """
        jobs = await self._left_jobs.look()
        stalled = {lease.id: lease.seen for lease in await self._watch.stalled()}
        known = list(self._deadlines)
        active = await self._storage.list_active_runs()
        for run in active:
            name = _name(run)
            if name in self._holdings:
                continue
            if name in stalled or not (self._watch.holds(name) or run.status == states.REQUIRES_ACTION):
                await self._take(run, stalled.get(name, ""))
            elif run.status == states.REQUIRES_ACTION and time.monotonic() >= self._deadline(run):
                await self._expire(run)
        for run_id in set(known).difference(run.id for run in active):
            self._deadlines.pop(run_id, None)
        worked_on = {derived_ids.job_id(run.id, run.round) for run in active}
        await self._left_jobs.end([job_id for job_id in jobs if job_id not in worked_on], self._is_over)

    async def _is_over(self, job_id: str) -> bool:
        """Whether the round of a run is over that a job was for. Raises NotFoundError: the run is gone."""
        asked = await self._queue.asked(job_id)
        if asked is None:  # it has ended by now
            return False
        run_id, _, round_ = job_id.rpartition(".")
        return states.is_over(await self._storage.get_run(asked.thread_id, run_id), int(round_))

    async def _expire(self, run: runs_pb2.Run) -> None:
        """Nobody brought the outputs in time."""
        try:
            await end_waiting(self._storage, run, states.EXPIRED)
        except (ConflictError, NotFoundError) as error:
            logger.info("run does not expire: it has moved on", run=run.id, error=error.message)


def _name(run: runs_pb2.Run) -> str:
    return derived_ids.round_id(run.id, run.round)


def _lifetime_seconds(run: runs_pb2.Run) -> int:
    return run.expires_at.seconds - run.created_at.seconds


def _deadline_by_wall_clock(run: runs_pb2.Run) -> float:
    """When a run of another time or gateway expires, by `time.monotonic`; a clock that jumped back gives none more."""
    return time.monotonic() + min(_lifetime_seconds(run), max(0.0, run.expires_at.seconds - time.time()))
