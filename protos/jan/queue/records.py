"""What Redis keeps about a job, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis

from jan import keys
from jan.inference.configurations import model_of
from jan.queue.waits import Wait

_FIELDS = ("kind", "queue", "tenant", "state", "enqueued", "started", "failures", "cancelled", "waits")


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job. Times are Redis's, in milliseconds.

    state: queued, loading, waiting, running, cancelling, ended or dead.
    started_ms: when it began to be worked on. wait: what keeps it from that in a worker's hands, while it does.
    """

    id: str
    kind: str
    model_id: str
    priority: int
    tenant: str
    state: str
    enqueued_ms: int
    started_ms: int | None
    failures: int
    wait: Wait | None = None


async def records(redis: Redis, job_ids: Sequence[str]) -> list[JobRecord]:
    """The records of jobs, without those that Redis forgot. Raises redis.RedisError."""
    async with redis.pipeline(transaction=False) as pipeline:
        for job_id in job_ids:
            pipeline.hmget(keys.job(job_id), _FIELDS)
        answers = cast(list[list[bytes | None]], await pipeline.execute())
    return [_record(job_id, values) for job_id, values in zip(job_ids, answers, strict=True) if values[1] is not None]


async def dead_letters(redis: Redis) -> list[str]:
    """The ids of dead letters that are still kept, the latest first. Raises redis.RedisError."""
    ids = [id_.decode() for id_ in cast(list[bytes], await redis.zrevrange(keys.DEAD, 0, -1))]
    return [record.id for record in await records(redis, ids)]


def _record(job_id: str, values: Sequence[bytes | None]) -> JobRecord:
    kind, queue, tenant, state, enqueued, started, failures, cancelled, waits = (
        value.decode() if value is not None else "" for value in values
    )
    priority, _, key = queue.partition(":")
    wait = Wait.from_bytes(waits.encode()) if waits and state == "running" else None
    return JobRecord(
        id=job_id,
        kind=kind,
        model_id=model_of(key),
        priority=int(priority),
        tenant=tenant,
        state="cancelling" if state == "running" and cancelled else str(wait.kind) if wait is not None else state,
        enqueued_ms=int(enqueued),
        started_ms=int(started) if started and wait is None else None,
        failures=int(failures),
        wait=wait,
    )
