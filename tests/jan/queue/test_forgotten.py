"""Parts of the queue that Redis forgot are put right."""

from __future__ import annotations

from typing import cast

import pytest
from redis.asyncio import Redis

from jan import keys
from jan.inference.v1 import jobs_pb2
from jan.queue.jobs import MAX_LOST_WORKERS, POISON, JobQueue, ReleaseOutcome
from jan.queue.leases import LeaseKind, LeaseLostError
from jan.queue.log import LogWriter
from jan.queue.scripts import Scripts
from jan.redis import StreamEntry
from tests.jan.queue.test_jobs import job, stalled_leases, take, take_all

EVENT = jobs_pb2.JobEvent(chunk=jobs_pb2.Chunk(data=b"{}")).SerializeToString()


async def test_a_job_whose_log_alone_was_forgotten_is_forgotten_whole(queue: JobQueue, redis: Redis) -> None:
    """Redis's clock jumped over its time to live: what comes next would leave a gap that nobody is told of."""
    await queue.submit(job("j1"))
    taken = await take(queue)
    writer = LogWriter(Scripts.register(redis), taken.lease)
    await writer.publish([b"The capital"])
    await redis.delete(keys.log("j1"))
    with pytest.raises(LeaseLostError):
        await writer.publish([b" is Paris"])
    assert not await queue.is_known("j1")
    assert (await redis.hgetall(keys.leases(LeaseKind.JOB)), await redis.zcard(keys.RUNNING)) == ({}, 0)
    assert await queue.submit(job("j1"))


async def test_a_log_that_outlived_its_job_is_begun_anew(queue: JobQueue, redis: Redis) -> None:
    await queue.submit(job("j1"))
    await LogWriter(Scripts.register(redis), (await take(queue)).lease).publish([b"old", b"older"])
    await redis.delete(keys.job("j1"), keys.leases(LeaseKind.JOB))
    await queue.submit(job("j1"))
    await LogWriter(Scripts.register(redis), (await take(queue)).lease).publish([b"new"])
    [(number, entry)] = cast(list[StreamEntry], await redis.xrange(keys.log("j1")))
    assert (number, entry[b"p"]) == (b"1-0", b"new")


@pytest.mark.parametrize(
    "forgotten",
    [[keys.line("2:m", "ann")], [keys.tenants("2:m")], [keys.QUEUED_MODELS], [keys.virtual_times("2:m"), keys.WAITING]],
)
async def test_a_waiting_job_whose_place_alone_was_forgotten_gets_it_back(
    queue: JobQueue, redis: Redis, forgotten: list[str]
) -> None:
    """Redis's clock jumped for a moment: what it looked at then is gone, the rest lives."""
    await queue.submit(job("j1"))
    await queue.submit(job("j2"))
    await redis.delete(*forgotten)
    assert await queue.is_known("j2")
    assert await queue.is_known("j1")
    assert await queue.is_known("j1")
    assert await take_all(queue) == ["j1", "j2"]
    assert int(await redis.get(keys.WAITING) or 0) == 0


async def test_a_tenant_who_was_forgotten_alone_does_not_lose_his_turns_for_ever(queue: JobQueue, redis: Redis) -> None:
    await queue.submit(job("j1"))
    await redis.delete(keys.tenants("2:m"))
    await queue.submit(job("j2"))
    assert await take_all(queue) == ["j1", "j2"]


async def test_a_running_job_whose_lease_alone_was_forgotten_is_missed_when_its_worker_dies(
    queue: JobQueue, redis: Redis
) -> None:
    await queue.submit(job("j1"))
    await take(queue)
    await redis.delete(keys.leases(LeaseKind.JOB))
    assert await queue.is_known("j1")
    [stalled] = await stalled_leases(redis)
    assert await queue.reclaim(stalled) is ReleaseOutcome.RELEASED


async def test_nothing_is_written_behind_events_that_redis_lost(queue: JobQueue, redis: Redis) -> None:
    """It came back from a power cut without its last second, and the worker lives: a log would go on with a gap."""
    await queue.submit(job("j1"))
    writer = LogWriter(Scripts.register(redis), (await take(queue)).lease)
    await writer.publish([b"The", b" capital"])
    saved = {key: await redis.dump(key) or b"" for key in (keys.job("j1"), keys.log("j1"))}
    await writer.publish([b" of", b" France"])
    for key, value in saved.items():
        await redis.restore(key, 0, value, replace=True)
    with pytest.raises(LeaseLostError):
        await writer.publish([b" is"])
    assert not await queue.is_known("j1")
    assert (await redis.hgetall(keys.leases(LeaseKind.JOB)), await redis.zcard(keys.RUNNING)) == ({}, 0)
    assert not await redis.exists(keys.log("j1"))
    assert await queue.submit(job("j1"))


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_nobody_goes_on_from_what_was_said_with_a_gap(queue: JobQueue, redis: Redis, lost: int) -> None:
    await queue.submit(job("j1"))
    taken = await take(queue)
    await LogWriter(Scripts.register(redis), taken.lease).publish([EVENT] * 3)
    await queue.try_again(taken)
    again = await take(queue)
    assert len(await queue.said(again) or ()) == 3
    await redis.xdel(keys.log("j1"), f"{lost}-0")
    assert await queue.said(again) is None


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("lost", [["1-0", "2-0", "3-0"], ["2-0"], ["3-0"]])
async def test_a_job_whose_log_lost_a_part_is_not_known(
    queue: JobQueue, redis: Redis, ends: bool, lost: list[str]
) -> None:
    """Whoever waits for it would wait for ever."""
    await queue.submit(job("j1"))
    await LogWriter(Scripts.register(redis), (await take(queue)).lease).publish([EVENT] * 3, ends=ends)
    assert await queue.is_known("j1")
    await redis.xdel(keys.log("j1"), *lost)
    assert not await queue.is_known("j1")
    assert (await redis.hgetall(keys.leases(LeaseKind.JOB)), await redis.zcard(keys.RUNNING)) == ({}, 0)
    assert await queue.submit(job("j1"))


async def test_the_oldest_events_of_a_long_log_may_give_way(queue: JobQueue, redis: Redis) -> None:
    await queue.submit(job("j1"))
    await LogWriter(Scripts.register(redis), (await take(queue)).lease).publish([EVENT] * 3)
    await redis.xtrim(keys.log("j1"), maxlen=2, approximate=False)
    assert await queue.is_known("j1")


async def test_a_dead_letter_outlives_its_log_and_is_told_to_have_failed(queue: JobQueue, redis: Redis) -> None:
    await queue.submit(job("j1"))
    for _ in range(MAX_LOST_WORKERS):
        await queue.lose_engine(await take(queue))
    await redis.delete(keys.log("j1"))
    assert await queue.is_known("j1")
    [(_, entry)] = cast(list[StreamEntry], await redis.xrange(keys.log("j1")))
    assert (jobs_pb2.JobEvent.FromString(entry[b"p"]).failed.error.code, entry[b"e"]) == (POISON, b"1")
    assert await queue.requeue("j1")
    assert not await redis.exists(keys.log("j1"))
