"""The queue's steps on a real Redis: order, fairness, leases, cancel, idempotence."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import cast

import pytest
from redis.asyncio import Redis

from jan import keys
from jan.errors import ResourceExhaustedError
from jan.inference.v1 import jobs_pb2
from jan.queue.bell import Bell, Signal, SignalKind
from jan.queue.bounds import QueueBounds
from jan.queue.jobs import CancelOutcome, JobQueue, ReleaseOutcome, TakenJob
from jan.queue.leases import LeaseKind, LeaseLostError, LeaseState, LeaseWatch, StalledLease, renew
from jan.queue.log import LogWriter
from jan.queue.scripts import Scripts
from jan.redis import StreamEntry


def job(
    id_: str,
    *,
    tenant: str = "ann",
    model: str = "m",
    cost: int = 10,
    priority: jobs_pb2.Priority.ValueType = jobs_pb2.PRIORITY_NORMAL,
) -> jobs_pb2.Job:
    return jobs_pb2.Job(id=id_, tenant=tenant, model=jobs_pb2.ModelSpec(id=model), cost_tokens=cost, priority=priority)


async def take_all(queue: JobQueue) -> list[str]:
    taken: list[str] = []
    while (next_job := await queue.take()) is not None:
        taken.append(next_job.job.id)
    return taken


async def take(queue: JobQueue) -> TakenJob:
    taken = await queue.take()
    assert taken is not None
    return taken


async def test_a_job_comes_out_as_it_went_in(queue: JobQueue) -> None:
    submitted = job("j1")
    assert await queue.submit(submitted)
    taken = await take(queue)
    assert taken.job == submitted
    assert (taken.lease.attempt, taken.published) == (1, 0)
    assert await queue.take() is None


async def test_submitting_again_changes_nothing(queue: JobQueue) -> None:
    assert await queue.submit(job("j1"))
    assert not await queue.submit(job("j1"))
    assert await take_all(queue) == ["j1"]
    assert not await queue.submit(job("j1"))


async def test_what_goes_beyond_a_bound_is_refused_and_leaves_nothing(queue: JobQueue, redis: Redis) -> None:
    bounds = QueueBounds(of_tenant=2, in_all=3)
    for id_, tenant in (("a1", "ann"), ("a2", "ann"), ("b1", "bob")):
        await queue.submit_within(job(id_, tenant=tenant), bounds)
    before = await redis.keys()
    for id_, tenant, code in (("a3", "ann", "rate_limit_exceeded"), ("c1", "cid", "queue_full")):
        with pytest.raises(ResourceExhaustedError):
            await queue.check_room(tenant, jobs_pb2.ModelSpec(id="m"), bounds)
        with pytest.raises(ResourceExhaustedError) as refused:
            await queue.submit_within(job(id_, tenant=tenant), bounds)
        assert refused.value.code == code
        assert refused.value.retry_after_seconds > 0
    assert sorted(await redis.keys()) == sorted(before)
    assert await queue.submit_within(job("a1"), bounds) is None


async def test_a_taken_job_says_how_much_room_is_left(queue: JobQueue) -> None:
    bounds = QueueBounds(of_tenant=3, in_all=4)

    async def submitted(id_: str, tenant: str, within: QueueBounds = bounds) -> tuple[int, int]:
        room = await queue.submit_within(job(id_, tenant=tenant), within)
        assert room is not None
        assert room.reset_seconds >= 1
        return room.limit, room.remaining

    assert await submitted("a1", "ann") == (3, 2)
    looked = await queue.check_room("ann", jobs_pb2.ModelSpec(id="m"), bounds)
    assert await submitted("a2", "ann") == (3, 1)
    assert looked is not None
    assert (looked.limit, looked.remaining) == (3, 1)
    assert await submitted("b1", "bob") == (4, 1)  # what is left for all is less than what is left of his own
    assert await submitted("b2", "bob", QueueBounds(of_tenant=3)) == (3, 1)
    assert await queue.submit_within(job("b3", tenant="bob"), QueueBounds()) is None
    with pytest.raises(ResourceExhaustedError) as refused:
        await queue.submit_within(job("c1", tenant="cid"), bounds)
    assert (refused.value.limit, refused.value.retry_after_seconds) == (4, 5)
    assert refused.value.reset_seconds >= 1


async def test_a_job_that_waits_no_more_makes_room(queue: JobQueue) -> None:
    bounds = QueueBounds(of_tenant=1, in_all=1)
    await queue.submit_within(job("taken"), bounds)
    taken = await take(queue)
    await queue.submit_within(job("cancelled"), bounds)
    await queue.cancel("cancelled")
    await queue.submit_within(job("waits"), bounds)
    await queue.hand_back(taken)  # accepted once, so no bound refuses it
    with pytest.raises(ResourceExhaustedError):
        await queue.submit_within(job("one too many"), bounds)
    assert await take_all(queue) == ["taken", "waits"]
    await queue.check_room("ann", jobs_pb2.ModelSpec(id="m"), bounds)
    assert await queue.submit_within(job("again"), bounds) is not None


async def test_a_newcomer_does_not_wait_behind_a_hundred_jobs_of_one_person(queue: JobQueue) -> None:
    for number in range(100):
        await queue.submit(job(f"bulk{number}", tenant="bulk"))
    assert (await take(queue)).job.id == "bulk0"
    await queue.submit(job("question", tenant="newcomer"))
    assert "question" in [(await take(queue)).job.id for _ in range(2)]


async def test_shares_follow_cost_not_count(queue: JobQueue) -> None:
    for number in range(4):
        await queue.submit(job(f"long{number}", tenant="long", cost=300))
    for number in range(9):
        await queue.submit(job(f"short{number}", tenant="short", cost=100))
    first = (await take_all(queue))[:12]
    assert sum(name.startswith("short") for name in first) == 9
    assert sum(name.startswith("long") for name in first) == 3


async def test_urgent_classes_go_first(queue: JobQueue) -> None:
    await queue.submit(job("batch", priority=jobs_pb2.PRIORITY_BATCH))
    await queue.submit(job("normal"))
    await queue.submit(job("chat", priority=jobs_pb2.PRIORITY_INTERACTIVE))
    assert await take_all(queue) == ["chat", "normal", "batch"]


async def test_models_without_room_are_passed_over(queue: JobQueue) -> None:
    await queue.submit(job("a", model="vendor/full"))
    await queue.submit(job("b", model="free"))
    taken = await queue.take(full_models={"vendor/full"})
    assert taken is not None
    assert taken.job.id == "b"
    assert await queue.take(full_models={"vendor/full"}) is None


async def test_a_handed_back_job_keeps_its_place(queue: JobQueue) -> None:
    await queue.submit(job("first"))
    await queue.submit(job("second"))
    await queue.hand_back(await take(queue))
    again = await take(queue)
    assert (again.job.id, again.lease.attempt) == ("first", 1)


async def test_a_stalled_lease_is_released_and_its_old_holder_fenced(
    queue: JobQueue, scripts: Scripts, redis: Redis
) -> None:
    await queue.submit(job("j1"))
    lost = await take(queue)
    await LogWriter(scripts, lost.lease).publish([b"said"])
    [stalled] = await stalled_leases(redis)
    assert await queue.reclaim(stalled) is ReleaseOutcome.RELEASED
    again = await take(queue)
    assert again.published == 1
    with pytest.raises(LeaseLostError):
        await LogWriter(scripts, lost.lease, published=1).publish([b"too late"])
    assert await renew(scripts, LeaseKind.JOB, [lost.lease, again.lease]) == [LeaseState.LOST, LeaseState.HELD]


async def test_a_lease_renewed_after_it_was_seen_stays(queue: JobQueue, scripts: Scripts, redis: Redis) -> None:
    await queue.submit(job("j1"))
    taken = await take(queue)
    [stalled] = await stalled_leases(redis)
    await renew(scripts, LeaseKind.JOB, [taken.lease])
    assert await queue.reclaim(stalled) is ReleaseOutcome.KEPT
    assert await renew(scripts, LeaseKind.JOB, [taken.lease]) == [LeaseState.HELD]


async def test_the_third_lost_worker_ends_the_job(queue: JobQueue, redis: Redis) -> None:
    await queue.submit(job("poison"))
    outcomes = []
    for _ in range(3):
        await take(queue)
        [stalled] = await stalled_leases(redis)
        outcomes.append(await queue.reclaim(stalled))
    assert outcomes == [ReleaseOutcome.RELEASED, ReleaseOutcome.RELEASED, ReleaseOutcome.ENDED]
    assert await queue.take() is None
    [(number, fields)] = await log_entries(redis, "poison")
    assert number == b"1-0"
    assert jobs_pb2.JobEvent.FromString(fields[b"p"]).failed.error.code == "poison"


async def test_handing_back_counts_neither_attempt_nor_failure(queue: JobQueue) -> None:
    await queue.submit(job("j1"))
    for _ in range(5):
        await queue.hand_back(await take(queue))
    await queue.try_again(await take(queue))
    taken = await take(queue)
    assert (taken.lease.attempt, taken.failures) == (2, 0)


async def test_cancelling_a_waiting_job_ends_it(queue: JobQueue, redis: Redis) -> None:
    await queue.submit(job("j1"))
    assert await queue.cancel("j1") is CancelOutcome.CANCELLED
    assert await queue.take() is None
    [(_, fields)] = await log_entries(redis, "j1")
    assert jobs_pb2.JobEvent.FromString(fields[b"p"]).HasField("cancelled")
    assert b"e" in fields


async def test_cancelling_a_running_job_tells_its_worker(queue: JobQueue, scripts: Scripts) -> None:
    await queue.submit(job("j1"))
    taken = await take(queue)
    assert await queue.cancel("j1") is CancelOutcome.CANCELLING
    assert await renew(scripts, LeaseKind.JOB, [taken.lease]) == [LeaseState.CANCELLED]


async def test_cancelling_a_running_job_rings_for_its_worker(queue: JobQueue, redis: Redis) -> None:
    """The engine is free within a second (P14): a renewal, which tells it too, may be two seconds away."""
    await queue.submit(job("j1"))
    await take(queue)
    signals = Bell(redis).listen(idle_seconds=60)
    heard = asyncio.ensure_future(anext(signals))
    while not heard.done():  # whoever begins to listen hears what is rung from then on
        await queue.cancel("j1")
    assert Signal(SignalKind.CANCELLED, "j1") in await heard
    await signals.aclose()


async def test_cancelling_what_is_over_or_unknown_is_harmless(queue: JobQueue, scripts: Scripts) -> None:
    await queue.submit(job("j1"))
    await LogWriter(scripts, (await take(queue)).lease).publish([b"done"], ends=True)
    assert await queue.cancel("j1") is CancelOutcome.ENDED
    assert await queue.cancel("nobody") is CancelOutcome.UNKNOWN


async def test_a_job_whose_cancel_came_first_never_runs(queue: JobQueue, redis: Redis) -> None:
    assert await queue.cancel("j1", may_come=True) is CancelOutcome.UNKNOWN
    assert not await queue.submit(job("j1"))
    assert await queue.take() is None
    [(_, fields)] = await log_entries(redis, "j1")
    assert jobs_pb2.JobEvent.FromString(fields[b"p"]).HasField("cancelled")


async def test_publishing_twice_appends_once(queue: JobQueue, scripts: Scripts, redis: Redis) -> None:
    await queue.submit(job("j1"))
    lease = (await take(queue)).lease
    await LogWriter(scripts, lease).publish([b"a", b"b"])
    await LogWriter(scripts, lease).publish([b"a", b"b", b"c"], ends=True)
    await LogWriter(scripts, lease).publish([b"a", b"b", b"c"], ends=True)
    entries = await log_entries(redis, "j1")
    assert [(number, fields[b"p"]) for number, fields in entries] == [
        (b"1-0", b"a"),
        (b"2-0", b"b"),
        (b"3-0", b"c"),
    ]
    assert await redis.hgetall(keys.leases("jobs")) == {}


async def test_an_emptied_redis_fences_everybody(queue: JobQueue, scripts: Scripts, redis: Redis) -> None:
    await queue.submit(job("j1"))
    lease = (await take(queue)).lease
    await redis.flushall()
    await queue.submit(job("j1"))
    await take(queue)
    with pytest.raises(LeaseLostError):
        await LogWriter(scripts, lease).publish([b"ghost"])


async def log_entries(redis: Redis, log_id: str) -> list[StreamEntry]:
    return cast(list[StreamEntry], await redis.xrange(keys.log(log_id)))


async def stalled_leases(redis: Redis) -> list[StalledLease]:
    """What a watch reports when its own clock says that the lease time has passed."""
    now = 0.0
    watch = LeaseWatch(redis, LeaseKind.JOB, lease_seconds=8.0, monotonic=lambda: now)
    assert await watch.stalled() == []
    now = 4.0
    assert await watch.stalled() == []
    now = 8.0
    return await watch.stalled()


async def test_time_in_which_nobody_could_look_does_not_count(queue: JobQueue, redis: Redis) -> None:
    await queue.submit(job("j1"))
    await take(queue)
    now = 0.0
    watch = LeaseWatch(redis, LeaseKind.JOB, lease_seconds=8.0, monotonic=lambda: now)
    for now, stalled in ((0.0, 0), (4.0, 0), (20.0, 0), (24.0, 0), (28.0, 1)):
        assert len(await watch.stalled()) == stalled, now


async def test_a_job_that_was_cancelled_under_a_lost_worker_ends(queue: JobQueue, redis: Redis) -> None:
    await queue.submit(job("j1"))
    await take(queue)
    await queue.cancel("j1")
    [stalled] = await stalled_leases(redis)
    assert await queue.reclaim(stalled) is ReleaseOutcome.ENDED
    assert await queue.take() is None
    [(_, fields)] = await log_entries(redis, "j1")
    assert jobs_pb2.JobEvent.FromString(fields[b"p"]).HasField("cancelled")


async def test_a_cancelled_job_that_is_handed_back_ends(queue: JobQueue, redis: Redis) -> None:
    await queue.submit(job("j1"))
    taken = await take(queue)
    await queue.cancel("j1")
    await queue.hand_back(taken)
    assert await queue.take() is None
    assert len(await log_entries(redis, "j1")) == 1


async def test_a_new_job_rings_only_for_a_worker_that_found_nothing(queue: JobQueue, redis: Redis) -> None:
    """A busy one looks again by itself, and each signal wakes every worker."""
    await queue.submit(job("j0"))
    assert await redis.xlen(keys.BELL) == 0
    await take(queue)
    assert await queue.take() is None
    for number in (1, 2):
        await queue.submit(job(f"j{number}"))
    assert await redis.xlen(keys.BELL) == 1
    assert await queue.take({"m"}) is None
    await queue.submit(job("j3"))
    assert await redis.xlen(keys.BELL) == 2


@pytest.mark.parametrize("left_seconds", [60, keys.IDLE_TTL_SECONDS - 1, keys.IDLE_TTL_SECONDS + 60])
async def test_what_is_used_has_a_day_left(queue: JobQueue, redis: Redis, left_seconds: int) -> None:
    """Though a life is not counted anew at each step."""
    for number in range(3):
        await queue.submit(job(f"j{number}"))
    await take(queue)
    async for key in redis.scan_iter(f"{keys.PREFIX}*"):
        await redis.expire(key, left_seconds)
    await queue.submit(job("j3"))
    await take(queue)
    of_all = {keys.QUEUED_MODELS, keys.WAITING, keys.SEQUENCE, keys.RUNNING, keys.leases(LeaseKind.JOB)}
    of_queue = {keys.line("2:m", "ann"), keys.tenants("2:m"), keys.virtual_times("2:m"), keys.job("j1"), keys.job("j3")}
    left = {key: await redis.ttl(key) for key in of_all | of_queue}
    assert min(left.values()) >= keys.IDLE_TTL_SECONDS, left


async def test_another_chance_is_a_whole_one(queue: JobQueue, redis: Redis) -> None:
    """Neither the attempts of before count, nor what hosts said that may have been mended since."""
    await queue.submit(job("poison"))
    await redis.hset(keys.HOSTS, mapping={"this host": "{}", "other": "{}"})
    await redis.expire(keys.HOSTS, 60)
    assert await queue.pass_on(await take(queue), "this host", "no memory") == []
    for _ in range(3):
        await take(queue)
        [stalled] = await stalled_leases(redis)
        await queue.reclaim(stalled)
    assert not await queue.is_retold("poison")
    assert await queue.requeue("poison")
    assert await redis.hexists(keys.job("poison"), "not_here") == 0
    assert (await take(queue)).lease.attempt == 1
    assert await queue.is_retold("poison")


async def test_a_wall_clock_that_runs_ahead_releases_nothing(
    queue: JobQueue, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise P12: two seconds by the wall clock at each glance at it, and next to none by a clock that cannot jump."""
    await queue.submit(job("j1"))
    await take(queue)
    watch = LeaseWatch(redis, LeaseKind.JOB)
    glances = itertools.count(time.time(), 2.0)
    monkeypatch.setattr(time, "time", lambda: next(glances))
    for _ in range(6):
        assert await watch.stalled() == []
