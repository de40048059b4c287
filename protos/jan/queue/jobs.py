"""The queue of jobs: submit, take, release, cancel. Delivery is at least once; every step may be repeated."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from redis.asyncio import Redis

from jan import keys
from jan.errors import ResourceExhaustedError, UnavailableError
from jan.inference.v1 import jobs_pb2
from jan.queue.leases import Lease, LeaseKind, StalledLease, new_token
from jan.queue.scripts import Scripts

# Three workers lost on one job say that the job is the cause.
MAX_LOST_WORKERS = 3

_CANCELLED = jobs_pb2.JobEvent(cancelled=jobs_pb2.Cancelled())


# When to come again to a full queue, as long as nothing tells how fast it moves.
FULL_RETRY_SECONDS = 5


@dataclass(frozen=True, slots=True)
class QueueBounds:
    """How many jobs may wait, of one tenant and in all; jobs in a worker's hands do not count. -1: any number."""

    of_tenant: int = -1
    in_all: int = -1


UNBOUNDED = QueueBounds()


class SubmitOutcome(StrEnum):
    """What a submit did: enqueued, or nothing, because the job is known or a bound is reached."""

    ADDED = "added"
    KNOWN = "known"
    TENANT_FULL = "tenant_full"
    FULL = "full"


class CancelOutcome(StrEnum):
    """What a cancel did: ended a waiting job, told a running one's worker, or came too late."""

    CANCELLED = "cancelled"
    CANCELLING = "cancelling"
    ENDED = "ended"


class ReleaseOutcome(StrEnum):
    """What became of a stalled job: queued again, ended after too many tries, or taken care of by somebody else."""

    RELEASED = "released"
    ENDED = "ended"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class TakenJob:
    """A job in a worker's hands. `published` events of earlier attempts stand in its log already."""

    job: jobs_pb2.Job
    lease: Lease
    published: int


class JobQueue:
    """The queue as gateways and workers use it; cheap to make, holds nothing but the client."""

    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        self._redis = redis
        self._scripts = scripts

    async def submit(self, job: jobs_pb2.Job, bounds: QueueBounds = UNBOUNDED) -> bool:
        """Enqueue a job; False when its id was known already, and then nothing changed.

        Raises ResourceExhaustedError, with when to try again: the queue or the tenant's part of it is full, and
        nothing changed. Raises redis.RedisError: unknown whether it was enqueued; submitting it again is harmless.
        """
        name = _queue_name(job)
        outcome = await self._scripts.submit(
            keys=[
                keys.job(job.id),
                keys.queue(name),
                keys.virtual_times(name),
                keys.QUEUED_MODELS,
                keys.BELL,
                keys.WAITING,
            ],
            args=[
                job.id,
                name,
                _class(job),
                job.tenant,
                max(1, job.cost_tokens),
                job.SerializeToString(),
                keys.IDLE_TTL_SECONDS,
                keys.BELL_MAX_SIGNALS,
                new_token(),
                bounds.of_tenant,
                bounds.in_all,
            ],
        )
        match SubmitOutcome(outcome.decode()):
            case SubmitOutcome.FULL:
                raise ResourceExhaustedError(
                    f"The queue is full: {bounds.in_all} requests wait. Try again later.",
                    code="queue_full",
                    retry_after_seconds=FULL_RETRY_SECONDS,
                )
            case SubmitOutcome.TENANT_FULL:
                raise ResourceExhaustedError(
                    f"{bounds.of_tenant} requests of yours wait already. Try again when some are answered.",
                    code="rate_limit_exceeded",
                    retry_after_seconds=FULL_RETRY_SECONDS,
                )
            case added:
                return added is SubmitOutcome.ADDED

    async def take(self, full_models: Collection[str] = ()) -> TakenJob | None:
        """Take the job that is next in turn, except for models the worker has no room for; None when none waits.

        Raises redis.RedisError: a job may have been taken unseen; its lease stalls and it is released.
        """
        token = new_token()
        taken = await self._scripts.take(
            keys=[keys.QUEUED_MODELS, keys.leases(LeaseKind.JOB), keys.WAITING],
            args=[
                keys.job(""),
                keys.queue(""),
                keys.virtual_times(""),
                keys.IDLE_TTL_SECONDS,
                token,
                *full_models,
            ],
        )
        if taken is None:
            return None
        id_, payload, attempt, published = taken
        return TakenJob(
            job=jobs_pb2.Job.FromString(payload),
            lease=Lease(LeaseKind.JOB, id_.decode(), token, attempt),
            published=published,
        )

    async def hand_back(self, taken: TakenJob) -> None:
        """Put a taken job back at its old place, as a worker does that stops; it counts no failure.

        A job that was cancelled meanwhile ends as cancelled.
        """
        await self._release(taken.lease.id, taken.lease.token, seen="", last_event=b"")

    async def reclaim(self, stalled: StalledLease) -> ReleaseOutcome:
        """Release a job whose worker went silent; the third time it ends `failed` with code `worker_lost`.

        A job that was cancelled meanwhile ends as cancelled.
        """
        event = jobs_pb2.JobEvent()
        event.failed.error.CopyFrom(
            UnavailableError(
                f"This request was given up after it lost {MAX_LOST_WORKERS} workers.", code="worker_lost"
            ).to_detail()
        )
        return await self._release(stalled.id, stalled.token, seen=stalled.seen, last_event=event.SerializeToString())

    async def cancel(self, job_id: str) -> CancelOutcome:
        """Cancel a job: at once when it waits, through its worker when it runs."""
        outcome = await self._scripts.cancel(
            keys=[keys.job(job_id), keys.log(job_id), keys.BELL, keys.WAITING],
            args=[
                job_id,
                _CANCELLED.SerializeToString(),
                keys.queue(""),
                keys.IDLE_TTL_SECONDS,
                keys.ENDED_TTL_SECONDS,
                keys.BELL_MAX_SIGNALS,
            ],
        )
        return CancelOutcome(outcome.decode())

    async def is_known(self, job_id: str) -> bool:
        """Whether Redis remembers the job; False after it expired or Redis was emptied."""
        return bool(await self._redis.exists(keys.job(job_id)))

    async def _release(self, job_id: str, token: str, *, seen: str, last_event: bytes) -> ReleaseOutcome:
        outcome = await self._scripts.release(
            keys=[
                keys.job(job_id),
                keys.leases(LeaseKind.JOB),
                keys.QUEUED_MODELS,
                keys.BELL,
                keys.log(job_id),
                keys.WAITING,
            ],
            args=[
                job_id,
                token,
                seen,
                MAX_LOST_WORKERS,
                last_event,
                _CANCELLED.SerializeToString(),
                keys.queue(""),
                keys.IDLE_TTL_SECONDS,
                keys.ENDED_TTL_SECONDS,
                keys.BELL_MAX_SIGNALS,
            ],
        )
        return ReleaseOutcome(outcome.decode())


def _class(job: jobs_pb2.Job) -> int:
    return job.priority or jobs_pb2.PRIORITY_NORMAL


def _queue_name(job: jobs_pb2.Job) -> str:
    return f"{_class(job)}:{job.model.id}"
