"""Following logs over one connection: no gap, no repeat, any number of readers, resume, slow readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

import jan.queue.follower
from jan import keys
from jan.inference.v1 import jobs_pb2
from jan.queue.follower import MAX_PENDING_BYTES, LogFollower, LogRestartedError, SlowReaderError
from jan.queue.jobs import JobQueue
from jan.queue.log import LogWriter
from jan.queue.scripts import Scripts
from jan.redis import StreamEntry, read_streams


@pytest.fixture
async def follower(redis: Redis) -> AsyncIterator[LogFollower]:
    follower = LogFollower(redis)
    async with follower.running():
        yield follower


async def open_log(redis: Redis, log_id: str) -> LogWriter:
    scripts = Scripts.register(redis)
    queue = JobQueue(redis, scripts)
    await queue.submit(jobs_pb2.Job(id=log_id))
    taken = await queue.take()
    assert taken is not None
    return LogWriter(scripts, taken.lease)


async def read_numbers(follower: LogFollower, log_id: str, after: int = 0) -> list[int]:
    numbers: list[int] = []
    async with follower.follow(log_id, after=after) as subscription:
        async for batch in subscription.batches(idle_seconds=5):
            numbers += [entry.number for entry in batch]
    return numbers


async def test_a_reader_sees_every_event_once_in_order(redis: Redis, follower: LogFollower) -> None:
    reading = asyncio.create_task(read_numbers(follower, "a"))
    writer = await open_log(redis, "a")
    for number in range(50):
        await writer.publish([b"%d" % number, b"x"], ends=number == 49)
    assert await reading == list(range(1, 101))


async def test_a_late_reader_catches_up_while_another_reads_live(redis: Redis, follower: LogFollower) -> None:
    writer = await open_log(redis, "a")
    early = asyncio.create_task(read_numbers(follower, "a"))
    await writer.publish([b"1", b"2", b"3"])
    late = asyncio.create_task(read_numbers(follower, "a"))
    resumed = asyncio.create_task(read_numbers(follower, "a", after=2))
    await writer.publish([b"4"], ends=True)
    assert await early == await late == [1, 2, 3, 4]
    assert await resumed == [3, 4]


async def test_a_reader_that_comes_while_a_later_part_is_read_misses_nothing(
    redis: Redis, follower: LogFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, may_go_on = asyncio.Event(), asyncio.Event()

    async def read_slowly(*args: Any, **options: Any) -> list[tuple[str, list[StreamEntry]]]:
        reply = await read_streams(*args, **options)
        if any(key == keys.log("a") for key, _ in reply):
            read.set()
            await may_go_on.wait()
        return reply

    writer = await open_log(redis, "a")
    await writer.publish([b"1", b"2", b"3"])
    monkeypatch.setattr(jan.queue.follower, "read_streams", read_slowly)
    async with follower.follow("a", after=3):
        await writer.publish([b"4"])
        await read.wait()
        async with follower.follow("a") as late:
            may_go_on.set()
            await writer.publish([b"5"], ends=True)
            numbers = [entry.number async for batch in late.batches(idle_seconds=5) for entry in batch]
    assert numbers == [1, 2, 3, 4, 5]


async def test_many_logs_do_not_mix(redis: Redis, follower: LogFollower) -> None:
    writers = [await open_log(redis, f"log{n}") for n in range(20)]
    readers = [asyncio.create_task(read_numbers(follower, f"log{n}")) for n in range(20)]
    for n, writer in enumerate(writers):
        await writer.publish([b"x"] * (n + 1), ends=True)
    assert await asyncio.gather(*readers) == [list(range(1, n + 2)) for n in range(20)]


async def test_silence_is_told(follower: LogFollower) -> None:
    async with follower.follow("nothing") as subscription:
        batches = subscription.batches(idle_seconds=0.01)
        assert await anext(batches) == []
        await batches.aclose()


async def test_a_log_that_begins_anew_is_not_taken_for_its_predecessor(redis: Redis, follower: LogFollower) -> None:
    writer = await open_log(redis, "a")
    async with follower.follow("a") as subscription:
        batches = subscription.batches(idle_seconds=5)
        await writer.publish([b"The capital is"])
        assert len(await anext(batches)) == 1
        await redis.flushall()
        again = await open_log(redis, "a")
        await again.publish([b"It is", b" Paris"])
        with pytest.raises(LogRestartedError):
            await anext(batches)


async def test_a_log_that_lost_a_part_is_not_told_with_a_gap(redis: Redis, follower: LogFollower) -> None:
    writer = await open_log(redis, "a")
    async with follower.follow("a") as subscription:
        batches = subscription.batches(idle_seconds=5)
        await writer.publish([b"The capital"])
        assert len(await anext(batches)) == 1
        generation = await redis.hget(keys.job("a"), "generation")
        await redis.xadd(
            keys.log("a"), {"g": generation or b"", "p": b" Paris"}, id="3-0"
        )  # and the second is not there
        with pytest.raises(LogRestartedError):
            await anext(batches)


async def test_a_dropped_reader_is_not_read_for(redis: Redis, follower: LogFollower) -> None:
    writer = await open_log(redis, "a")
    async with follower.follow("a") as slow, follower.follow("b") as other:
        await writer.publish([b"x" * (MAX_PENDING_BYTES // 2)] * 3)
        while slow.cursor < 3:
            await redis.ping()
        await writer.publish([b"y"])
        while not slow.is_dropped:
            await redis.ping()
        batches = other.batches(idle_seconds=5)
        scripts = Scripts.register(redis)
        await JobQueue(redis, scripts).submit(jobs_pb2.Job(id="b"))
        taken = await JobQueue(redis, scripts).take()
        assert taken is not None
        await LogWriter(scripts, taken.lease).publish([b"z"], ends=True)
        assert len(await anext(batches)) == 1
        assert slow.is_dropped
        before = (await redis.info("commandstats"))["cmdstat_xread"]["calls"]
        for _ in range(50):
            await redis.ping()
        assert (await redis.info("commandstats"))["cmdstat_xread"]["calls"] - before <= 1


async def test_a_reader_that_does_not_read_is_dropped_and_may_resume(redis: Redis, follower: LogFollower) -> None:
    writer = await open_log(redis, "a")
    async with follower.follow("a") as subscription:
        batches = subscription.batches(idle_seconds=5)
        await writer.publish([b"seen"])
        assert [entry.number for entry in await anext(batches)] == [1]
        await writer.publish([b"x" * (MAX_PENDING_BYTES // 2)] * 2)
        while subscription.cursor < 3:
            await redis.ping()
        await writer.publish([b"one too many"])
        while not subscription.is_dropped:
            await redis.ping()
        with pytest.raises(SlowReaderError):
            await anext(batches)
    await writer.publish([b"end"], ends=True)
    assert await read_numbers(follower, "a", after=1) == [2, 3, 4, 5]


async def test_one_event_may_be_longer_than_what_a_reader_may_leave(redis: Redis, follower: LogFollower) -> None:
    writer = await open_log(redis, "a")
    reading = asyncio.create_task(read_numbers(follower, "a"))
    await writer.publish([b"x" * 3 * MAX_PENDING_BYTES, b"end"], ends=True)
    assert await reading == [1, 2]
