"""The queue of jobs: submit, take, release, cancel. Delivery is at least once; every step may be repeated."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, cast

from redis.asyncio import Redis

from jan import keys
from jan.errors import UnavailableError
from jan.ids import RunId
from jan.inference.configurations import key_of
from jan.inference.v1 import jobs_pb2
from jan.queue.bounds import EVEN, UNBOUNDED, QueueBounds, Room, Weights
from jan.queue.leases import Lease, LeaseKind, StalledLease, new_token
from jan.queue.scripts import Scripts
from jan.redis import StreamEntry

# Three workers or engines lost on one job say that the job is the cause.
MAX_LOST_WORKERS = 3
# The last try is alone, so that no neighbour is taken for the cause.
_LOST_BEFORE_LAST_TRY = MAX_LOST_WORKERS - 1
POISON = "poison"
_KNOWN = b"known"
_Counts = Literal["nothing", "attempt", "loss"]

_PAGE = 4096  # events read at once

_KINDS = {jobs_pb2.ENDPOINT_COMPLETIONS: "text_completion", jobs_pb2.ENDPOINT_EMBEDDINGS: "embedding"}
_CANCELLED = jobs_pb2.JobEvent(cancelled=jobs_pb2.Cancelled())


class CancelOutcome(StrEnum):
    """What a cancel did: ended a waiting job, told a running one's worker, came too late, or found no such job."""

    CANCELLED = "cancelled"
    CANCELLING = "cancelling"
    ENDED = "ended"
    UNKNOWN = "unknown"


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
    failures: int = 0

    @property
    def is_alone(self) -> bool:
        """Whether nothing may be taken beside it: one more loss, and it counts as the cause of all of them."""
        return self.failures >= _LOST_BEFORE_LAST_TRY


class JobQueue:
    """The queue as gateways and workers use it; cheap to make, holds nothing but the client."""

    def __init__(self, redis: Redis, scripts: Scripts, weights: Weights = EVEN) -> None:
        self._redis = redis
        self._scripts = scripts
        self._weights = weights

    async def submit(self, job: jobs_pb2.Job) -> bool:
        """Enqueue a job, whatever waits; False when its id was known already, and then nothing changed.

        Raises redis.RedisError: unknown whether it was enqueued; submitting it again is harmless.
        """
        outcome, *_ = await self._submit(job, UNBOUNDED)
        return outcome != _KNOWN

    async def submit_within(self, job: jobs_pb2.Job, bounds: QueueBounds) -> Room | None:
        """Enqueue a job as `submit` does, if there is room; what is left then, None when its id was known already.

        Raises ResourceExhaustedError, with when to try again: the queue or the tenant's part of it is full, and
        nothing changed.
        """
        return bounds.room(await self._submit(job, bounds))

    async def _submit(self, job: jobs_pb2.Job, bounds: QueueBounds) -> list[bytes | int]:
        return cast(
            list[bytes | int],
            await self._scripts.submit(
                keys=[keys.job(job.id)],
                args=[
                    job.id,
                    queue_name(job),
                    job.tenant,
                    max(1, job.cost_tokens),
                    self._weights.of(job.tenant),
                    job.SerializeToString(),
                    kind_of(job),
                    new_token(),
                    bounds.of_tenant,
                    bounds.in_all,
                    job.attended_by,
                    job.prompt_tokens,
                ],
            ),
        )

    async def check_room(self, tenant: str, model: jobs_pb2.ModelSpec, bounds: QueueBounds) -> Room | None:
        """Say or raise what `submit_within` would for one more job of this tenant for this model; enqueues nothing."""
        name = queue_name(jobs_pb2.Job(model=model))
        return bounds.room(await self._scripts.room(args=[name, tenant, bounds.of_tenant, bounds.in_all]))

    async def take(
        self,
        full_models: Collection[str] = (),
        models_elsewhere: Collection[str] = (),
        models_in_hand: Collection[str] = (),
    ) -> TakenJob | None:
        """Take the job that is next in turn, except for models the worker has no room for; None when none waits.

        models_elsewhere: other hosts have these models, so their jobs are left to them for `ELSEWHERE_SECONDS`.
        models_in_hand: the worker has jobs of these models; one that is to be alone waits for their end.

        The client asks again after a lost reply, and gets the same job.

        Raises redis.RedisError: a job may have been taken unseen; its lease stalls and it is released.
        """
        token = new_token()
        taken = await self._scripts.take(
            keys=[keys.leases(LeaseKind.JOB)],
            args=[
                token,
                _LOST_BEFORE_LAST_TRY,
                len(full_models),
                *full_models,
                len(models_in_hand),
                *models_in_hand,
                len(models_elsewhere),
                *models_elsewhere,
            ],
        )
        if taken is None:
            return None
        id_, payload, attempt, published, failures = taken
        return TakenJob(
            job=jobs_pb2.Job.FromString(payload),
            lease=Lease(LeaseKind.JOB, id_.decode(), token, attempt),
            published=published,
            failures=failures,
        )

    async def said(self, taken: TakenJob) -> list[jobs_pb2.JobEvent] | None:
        """What earlier attempts at a taken job have published; None when its log has lost a part of that.

        Raises redis.RedisError: Redis did not answer.
        """
        entries: list[StreamEntry] = []
        while len(entries) < taken.published:
            page = cast(
                list[StreamEntry],
                await self._redis.xrange(
                    keys.log(taken.lease.id), min=f"{len(entries) + 1}-0", max=f"{taken.published}-0", count=_PAGE
                ),
            )
            numbers = range(len(entries) + 1, len(entries) + len(page) + 1)
            if not page or [number for number, _ in page] != [b"%d-0" % number for number in numbers]:
                return None
            entries += page
        return [jobs_pb2.JobEvent.FromString(fields[b"p"]) for _, fields in entries]

    async def hand_back(self, taken: TakenJob, *, spent_tokens: int = 0) -> None:
        """Put a taken job back at its old place, as a worker does that stops; neither the attempt counts nor a failure.

        A job that was cancelled meanwhile ends as cancelled. spent_tokens: what was used of it, at this try and before;
        its tenant is charged for that should it end before it is answered.
        """
        await self._release(taken.lease.id, taken.lease.token, counts="nothing", spent=spent_tokens)

    async def try_again(self, taken: TakenJob, *, spent_tokens: int = 0) -> None:
        """Put a taken job back at its old place after its engine broke off; the attempt counts, but no failure.

        Else as `hand_back`.
        """
        await self._release(taken.lease.id, taken.lease.token, counts="attempt", spent=spent_tokens)

    async def lose_engine(self, taken: TakenJob, cause: str = "", *, spent_tokens: int = 0) -> ReleaseOutcome:
        """Put a taken job back at its old place after its engine died, on it or while it loaded for it.

        Counts as `reclaim` does. cause: how the engine died, in a sentence for the client if this was the last time.
        spent_tokens: see `hand_back`.
        """
        return await self._release(taken.lease.id, taken.lease.token, counts="loss", cause=cause, spent=spent_tokens)

    async def pass_on(self, taken: TakenJob, host: str, why: str) -> list[str]:
        """Put a taken job back for another host, because `host` cannot serve it; the attempt does not count.

        When every living host has said that, the job stays with its holder, and the reason of each host is returned;
        else nothing. A job that was cancelled meanwhile ends as cancelled.
        """
        outcome, *reasons = await self._scripts.pass_on(
            keys=[keys.job(taken.lease.id), keys.leases(LeaseKind.JOB), keys.HOSTS],
            args=[taken.lease.id, taken.lease.token, host, why, _CANCELLED.SerializeToString()],
        )
        return sorted(reason.decode() for reason in reasons) if outcome == b"nobody" else []

    async def reclaim(self, stalled: StalledLease) -> ReleaseOutcome:
        """Release a job whose worker went silent.

        The third loss of a worker or engine ends it `failed` with code `poison`, as a dead letter. A job that was
        cancelled meanwhile ends as cancelled. It counts as one that an engine has read, unless it waited for its model.
        """
        return await self._release(stalled.id, stalled.token, counts="loss", seen=stalled.seen)

    async def cancel(self, job_id: str, *, tenant: str = "", may_come: bool = False) -> CancelOutcome:
        """Cancel a job: at once when it waits, through its worker when it runs. `tenant`: only if it is theirs.

        may_come: one that is not known may be on its way, as after a submit whose reply was lost. It never runs then:
        for `ENDED_TTL_SECONDS` its id is that of a job that was cancelled.
        """
        outcome = await self._scripts.cancel(
            keys=[keys.job(job_id)],
            args=[job_id, _CANCELLED.SerializeToString(), tenant, new_token() if may_come else ""],
        )
        return CancelOutcome(outcome.decode())

    async def requeue(self, job_id: str) -> bool:
        """Enqueue a dead letter again, as a new job with a log that begins anew; False when it is none."""
        return bool(await self._scripts.requeue(keys=[keys.job(job_id)], args=[job_id, new_token()]))

    async def forget_dead(self, job_id: str) -> bool:
        """Forget a dead letter, since something else is done in its place; False when it is none."""
        return bool(await self._scripts.requeue(keys=[keys.job(job_id)], args=[job_id, ""]))

    async def asked(self, job_id: str) -> jobs_pb2.Job | None:
        """What a job that has not ended, or is a dead letter, asks for; None for others. Raises redis.RedisError."""
        payload = cast(bytes | None, await self._redis.hget(keys.job(job_id), "payload"))
        return None if payload is None else jobs_pb2.Job.FromString(payload)

    async def is_known(self, job_id: str) -> bool:
        """Whether Redis remembers the job; False after it expired, Redis was emptied, or a part of its log was lost.

        A job that is remembered is also where it belongs, in its line or in a worker's hands, if a part of that was
        forgotten: so whoever waits for it need only ask now and then.
        """
        given_up = _given_up("").SerializeToString()
        job_keys = [keys.job(job_id), keys.leases(LeaseKind.JOB)]
        return bool(await self._scripts.check(keys=job_keys, args=[job_id, given_up]))

    async def is_retold(self, job_id: str) -> bool:
        """Whether the job's log is told anew, so that numbers from before mean nothing. Raises redis.RedisError."""
        return bool(await self._redis.hexists(keys.job(job_id), "retold"))

    async def _release(
        self, job_id: str, token: str, *, counts: _Counts, seen: str = "", cause: str = "", spent: int | None = None
    ) -> ReleaseOutcome:
        outcome = await self._scripts.release(
            keys=[keys.job(job_id), keys.leases(LeaseKind.JOB)],
            args=[
                *(job_id, token, seen, counts, MAX_LOST_WORKERS),
                *(_given_up(cause).SerializeToString(), _CANCELLED.SerializeToString()),
                "" if spent is None else spent,
            ],
        )
        return ReleaseOutcome(outcome.decode())


def _given_up(cause: str) -> jobs_pb2.JobEvent:
    """The end of a job that was the last thing too many workers or engines worked on."""
    message = f"This request was given up after {MAX_LOST_WORKERS} workers or engines were lost on it."
    error = UnavailableError(f"{message} The last time: {cause}" if cause else message, code=POISON)
    return jobs_pb2.JobEvent(failed=jobs_pb2.Failed(error=error.to_detail()))


def queue_name(job: jobs_pb2.Job) -> str:
    """The queue that a job stands in: `<class>:<model>`; a model in another configuration has one of its own."""
    return f"{job.priority or jobs_pb2.PRIORITY_NORMAL}:{key_of(job.model)}"


def kind_of(job: jobs_pb2.Job) -> str:
    """What a job is for, in a word for people."""
    if job.id.startswith(RunId.prefix):
        return "run"
    return _KINDS.get(job.endpoint, "chat.completion")
