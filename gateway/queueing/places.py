"""The queue as people see it: who stands where, looked at most once a second however many ask; dead letters."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.queueing.jobs import queue_unavailable
from jan.errors import UnavailableError
from jan.inference.v1 import jobs_pb2
from jan.queue import records
from jan.queue.bounds import Weights
from jan.queue.jobs import CancelOutcome, JobQueue
from jan.queue.look import QueueSnapshot, look
from jan.queue.records import JobRecord
from jan.queue.scripts import Scripts

LOOK_SECONDS = 1.0

Result = TypeVar("Result")


class QueueClient:
    """Looks at the queue and puts it in order; made once for the application.

    Every method raises UnavailableError: the queue does not answer.
    """

    def __init__(self, redis: Redis, scripts: Scripts, queue: JobQueue, weights: Weights) -> None:
        self._redis = redis
        self._scripts = scripts
        self._queue = queue
        self._weights = weights
        self._looking = asyncio.Lock()
        self._looked_at = self._failed_at = -math.inf
        self._snapshot = QueueSnapshot()

    async def look(self, *, most_age_seconds: float = LOOK_SECONDS) -> QueueSnapshot:
        """The queue, as it was that long ago at most; those who ask together look once.

        They are told together, too, that it does not answer: each in turn would wait for all before.
        """
        asked_at = time.monotonic()
        async with self._looking:
            if self._failed_at >= asked_at:
                raise queue_unavailable()
            if self._looked_at < asked_at - most_age_seconds:
                began_at = time.monotonic()
                try:
                    self._snapshot = await _answered(look(self._scripts, self._weights))
                except UnavailableError:
                    self._failed_at = time.monotonic()
                    raise
                self._looked_at = began_at
            return self._snapshot

    async def records(self, job_ids: Sequence[str]) -> list[JobRecord]:
        """What is known of jobs, without those that are forgotten."""
        return await _answered(records.records(self._redis, job_ids))

    async def dead_letters(self) -> list[str]:
        """The ids of jobs that were given up, the latest first."""
        return await _answered(records.dead_letters(self._redis))

    async def cancel(self, job_id: str, *, tenant: str) -> CancelOutcome:
        """Cancel a job if it is this tenant's, or whosever it is when that is empty."""
        return await _answered(self._queue.cancel(job_id, tenant=tenant))

    async def requeue(self, job_id: str) -> bool:
        """Enqueue a dead letter again; False when it is none."""
        return await _answered(self._queue.requeue(job_id))

    async def forget_dead(self, job_id: str) -> bool:
        """Forget a dead letter in whose place something else is done; False when it is none."""
        return await _answered(self._queue.forget_dead(job_id))

    async def asked(self, job_id: str) -> jobs_pb2.Job | None:
        """What a job that has not ended, or a dead letter, asks for; None for others."""
        return await _answered(self._queue.asked(job_id))


async def _answered(step: Awaitable[Result]) -> Result:
    try:
        return await step
    except (RedisError, OSError):
        raise queue_unavailable() from None
