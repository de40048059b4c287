"""The batches that this gateway executes, and its part in seeing that every batch comes to its end.

A gateway starts the batches that it accepts. All gateways look regularly for batches that nobody works on, because
their gateway died or Redis forgot them, and for those that somebody wants to stop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.batches.client import BatchClient
from gateway.batches.execution import BatchExecution
from gateway.batches.responses import ResponseParts
from gateway.queueing.holdings import Holdings
from gateway.queueing.leftovers import LeftJobs
from gateway.queueing.places import QueueClient
from jan.backoff import Backoff
from jan.errors import JanError, NotFoundError
from jan.ids import BatchId, MessageBatchId
from jan.queue.leases import Lease, LeaseKind, LeaseWatch
from jan.queue.runs import RunLeases
from jan.queue.scripts import Scripts
from jan.storage.v1 import batches_pb2
from jan.tasks import background
from jan.telemetry import get_logger

logger = get_logger(__name__)

RECONCILE_SECONDS = 5.0
_ENDED = frozenset(
    {
        batches_pb2.BATCH_STATUS_COMPLETED,
        batches_pb2.BATCH_STATUS_FAILED,
        batches_pb2.BATCH_STATUS_EXPIRED,
        batches_pb2.BATCH_STATUS_CANCELLED,
    }
)


class BatchExecutor:
    """Executes batches in tasks of its own."""

    def __init__(
        self, redis: Redis, scripts: Scripts, client: BatchClient, parts: ResponseParts, queue: QueueClient
    ) -> None:
        self._parts = parts
        self._left_jobs = LeftJobs(queue, parts.jobs, BatchId.prefix, MessageBatchId.prefix)
        self.client = client
        """Storage's batches."""
        self._leases = RunLeases(redis, scripts)
        self._watch = LeaseWatch(redis, LeaseKind.RUN)
        self._holdings = Holdings(scripts, self._leases)
        self._executions: dict[str, BatchExecution] = {}
        self._deadlines: dict[str, float] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Execute while the context is open; let go of all batches when it closes."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._holdings.running())
            await stack.enter_async_context(background(self._reconcile_for_ever(), "reconcile-batches"))
            yield

    async def start(self, batch: batches_pb2.Batch) -> None:
        """Execute a batch that was accepted just now. Redis being away is no error: the reconciler comes back."""
        self._deadlines.setdefault(batch.id, time.monotonic() + batch.lifetime_seconds)
        await self._take(batch, "")

    def stop(self, batch: batches_pb2.Batch) -> None:
        """Storage knows that a batch is to stop: if it is executed here, it stops at once."""
        if batch.status == batches_pb2.BATCH_STATUS_CANCELLING and batch.id in self._executions:
            self._executions[batch.id].stop()

    async def _take(self, batch: batches_pb2.Batch, seen: str) -> None:
        """Execute a batch unless somebody does."""
        deadline = self._deadlines.setdefault(batch.id, _deadline_by_wall_clock(batch))
        try:
            held = await self._leases.acquire(batch.id, seen=seen)
        except (RedisError, OSError) as error:
            logger.warning("batch waits for Redis", batch=batch.id, error=str(error))
            return
        if held is not None:
            execution = BatchExecution(self._parts, self.client, batch, deadline)
            self._executions[batch.id] = execution
            work = self._execute(batch.id, execution, held.lease)
            self._holdings.hold(held.lease, asyncio.create_task(work, name=f"batch-{batch.id}"))

    async def _execute(self, batch_id: str, execution: BatchExecution, lease: Lease) -> None:
        """Execute as often as it takes, under one lease."""
        backoff = Backoff(most_seconds=5.0)
        try:
            while not await self._is_executed(batch_id, execution):
                await backoff.wait()
            await self._holdings.give_back(lease)
        finally:
            self._holdings.forget(lease)
            if self._executions.get(batch_id) is execution:
                del self._executions[batch_id]

    async def _is_executed(self, batch_id: str, execution: BatchExecution) -> bool:
        """Execute once; whether the batch has come to its end, or is gone."""
        try:
            await execution.execute()
        except NotFoundError:
            logger.warning("batch is gone", batch=batch_id)
        except (JanError, RedisError, OSError) as error:
            logger.warning("batch waits", batch=batch_id, error=str(error))
            return False
        except Exception:  # whatever it is, the batch still has to end: by another try
            logger.exception("batch failed, and could not be ended", batch=batch_id)
            return False
        return True

    async def _reconcile_for_ever(self) -> None:
        while True:
            try:
                await self._reconcile()
            except (JanError, RedisError, OSError) as error:
                logger.warning("batches not reconciled", error=str(error))
            except Exception:  # every orphaned batch depends on this loop: it outlives a mistake
                logger.exception("batches not reconciled")
            await asyncio.sleep(RECONCILE_SECONDS)

    async def _reconcile(self) -> None:
        """Take over batches whose lease stood still, start those that nobody ever took, stop those that are to.

        And end the jobs of batches that are over.
        """
        jobs = await self._left_jobs.look()
        active = await self.client.list_active()
        stalled = {lease.id: lease.seen for lease in await self._watch.stalled()} if active else {}
        for batch in active:
            self.stop(batch)
            if batch.id not in self._holdings and (batch.id in stalled or not self._watch.holds(batch.id)):
                await self._take(batch, stalled.get(batch.id, ""))
        for batch_id in set(self._deadlines).difference(batch.id for batch in active).difference(self._executions):
            del self._deadlines[batch_id]
        worked_on = {batch.id for batch in active}
        await self._left_jobs.end([job_id for job_id in jobs if _batch_of(job_id) not in worked_on], self._is_over)

    async def _is_over(self, job_id: str) -> bool:
        """Whether the batch has ended that a job was for. Raises NotFoundError: it is gone."""
        return (await self.client.get(_batch_of(job_id))).status in _ENDED


def _batch_of(job_id: str) -> str:
    return job_id.partition(".")[0]


def _deadline_by_wall_clock(batch: batches_pb2.Batch) -> float:
    """When a batch of another time or gateway expires, by `time.monotonic`; a clock that jumped back gives no more."""
    left = batch.created_at.seconds + batch.lifetime_seconds - time.time()
    return time.monotonic() + min(batch.lifetime_seconds, max(0.0, left))
