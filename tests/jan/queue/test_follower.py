"""Following logs over one connection: no gap, no repeat, any number of readers, resume, slow readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from redis.asyncio import Redis

import jan.queue.follower
from jan import keys
from jan.inference.v1 import jobs_pb2
from jan.queue.follower import LogFollower
from jan.queue.jobs import JobQueue
from jan.queue.log import LogWriter
from jan.queue.scripts import Scripts
from jan.queue.subscription import MAX_PENDING_BYTES, LogEntry, LogRestartedError, LogSubscription, SlowReaderError
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


async def test_what_was_read_from_behind_a_readers_place_waits_for_the_next_read(redis: Redis) -> None:
    """Who came while the read was under way stands before where it began."""
    follower, key = LogFollower(redis), keys.log("a")
    async with follower.follow("a") as came_meanwhile:
        follower._deliver(key, [(b"3-0", {b"g": b"", b"p": b"3"})], 2)
        assert (came_meanwhile.cursor, came_meanwhile.is_dropped) == (0, False)
        follower._deliver(key, [(b"%d-0" % number, {b"g": b"", b"p": b"x"}) for number in (1, 2, 3)], 0)
        assert came_meanwhile.cursor == 3


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


async def test_a_log_is_not_taken_up_behind_an_event_of_its_predecessor(redis: Redis, follower: LogFollower) -> None:
    writer = await open_log(redis, "a")
    await writer.publish([b"The capital", b" is"])
    known = await follower.bounds("a")
    await redis.flushall()
    again = await open_log(redis, "a")
    await again.publish([b"It is", b" Paris", b"."])
    async with follower.follow("a", after=2, generation=known.generation) as subscription:
        with pytest.raises(LogRestartedError):
            await anext(subscription.batches(idle_seconds=5))
    known = await follower.bounds("a")
    async with follower.follow("a", after=2, generation=known.generation) as subscription:
        assert [entry.payload for entry in await anext(subscription.batches(idle_seconds=5))] == [b"."]


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


async def test_a_read_is_woken_for_a_new_log_whatever_redis_says_the_time_is(
    redis: Redis, follower: LogFollower
) -> None:
    """Numbered by a clock that went back since Redis was emptied, a poke would come before those that were read."""
    numbers = []
    for log_id in ("a", "b", "c"):
        await (await open_log(redis, log_id)).publish([b"x"], ends=True)
        assert await read_numbers(follower, log_id) == [1]
        [poke] = [key async for key in redis.scan_iter(keys.poke("*"))]
        numbers += [number for number, _ in cast(list[StreamEntry], await redis.xrange(poke))]
        await redis.flushall()
    assert numbers == [b"1-0", b"2-0", b"3-0"]


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


async def test_a_reader_that_takes_up_a_long_log_is_not_dropped_for_being_slower_than_redis(
    redis: Redis, follower: LogFollower
) -> None:
    writer = await open_log(redis, "a")
    for _ in range(20):
        await writer.publish([b"x" * 1024] * 200)
    await writer.publish([b"end"], ends=True)
    numbers: list[int] = []
    async with follower.follow("a") as subscription:
        async for batch in subscription.batches(idle_seconds=5):
            numbers += [entry.number for entry in batch]
            for _ in range(3):
                await redis.ping()
    assert numbers == list(range(1, 4002))


async def test_together_they_may_leave_only_so_much_and_who_reads_nothing_for_longest_is_dropped(
    redis: Redis, follower: LogFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jan.queue.follower, "MAX_BACKLOG_BYTES", 100_000)
    first, second = await open_log(redis, "first"), await open_log(redis, "second")
    async with follower.follow("first") as waits_longest, follower.follow("second") as waits:
        await first.publish([b"x" * 40_000])
        while waits_longest.cursor < 1:
            await redis.ping()
        await second.publish([b"x" * 80_000])
        while waits.cursor < 1:
            await redis.ping()
        assert await read_numbers_of(follower, redis, "reads", 50) == list(range(1, 51))
        assert waits_longest.is_dropped
        assert not waits.is_dropped
        assert waits_longest.pending_bytes == 0
    assert await read_numbers_of(follower, redis, "afterwards", 50) == list(range(1, 51))


async def test_whoever_takes_up_a_long_log_is_not_among_those_who_are_dropped(
    redis: Redis, follower: LogFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jan.queue.follower, "MAX_BACKLOG_BYTES", 10_000)
    writer = await open_log(redis, "a")
    await writer.publish([b"x" * 1024] * 300)
    reading = [asyncio.create_task(read_numbers(follower, "a", after=number)) for number in range(20)]
    await writer.publish([b"x" * 1024] * 300)
    await writer.publish([b"end"], ends=True)
    for number, task in enumerate(reading):
        assert await task == list(range(number + 1, 602))


async def read_numbers_of(follower: LogFollower, redis: Redis, log_id: str, count: int) -> list[int]:
    writer = await open_log(redis, log_id)
    reading = asyncio.create_task(read_numbers(follower, log_id))
    for number in range(count):
        await writer.publish([b"x" * 1000], ends=number == count - 1)
    return await reading


async def test_a_read_of_all_logs_brings_only_so_much(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jan.queue.follower, "READ_BYTES", 20_000)
    brought: list[int] = []

    async def read_and_tell(*args: Any, **options: Any) -> list[tuple[str, list[StreamEntry]]]:
        reply = await read_streams(*args, **options)
        brought.append(sum(len(entry[1].get(b"p", b"")) for _, entries in reply for entry in entries))
        return reply

    writers = [await open_log(redis, name) for name in ("a", "b")]
    monkeypatch.setattr(jan.queue.follower, "read_streams", read_and_tell)
    follower = LogFollower(redis)
    async with follower.running(), follower.follow("c"):
        reading = [asyncio.create_task(read_numbers(follower, name)) for name in ("a", "b")]
        for writer in writers:
            await writer.publish([b"x" * 1000] * 201, ends=True)
        assert [len(numbers) for numbers in await asyncio.gather(*reading)] == [201, 201]
    assert max(brought) <= 20_000


async def test_one_event_may_be_longer_than_what_a_reader_may_leave(redis: Redis, follower: LogFollower) -> None:
    writer = await open_log(redis, "a")
    reading = asyncio.create_task(read_numbers(follower, "a"))
    await writer.publish([b"x" * 3 * MAX_PENDING_BYTES, b"end"], ends=True)
    assert await reading == [1, 2]


class Sink:
    """Takes what it is offered while it is open."""

    def __init__(self) -> None:
        self.is_open = True
        self.taken: list[int] = []
        self.took = asyncio.Event()

    def __call__(self, entries: list[LogEntry]) -> bool:
        if self.is_open:
            self.taken += [entry.number for entry in entries]
            self.took.set()
        return self.is_open


async def test_a_sink_is_given_what_comes_while_the_reader_waits(redis: Redis, follower: LogFollower) -> None:
    sink = Sink()
    writer = await open_log(redis, "a")
    async with follower.follow("a") as subscription:
        reading = asyncio.create_task(anext(subscription.batches(idle_seconds=50)))
        await asyncio.sleep(0)
        with subscription.pouring(sink):
            await writer.publish([b"1", b"2"])
            await sink.took.wait()
            sink.is_open = False
            await writer.publish([b"3"])
            assert [entry.number for entry in await reading] == [3]
    assert sink.taken == [1, 2]


async def test_a_sink_never_overtakes_the_reader(redis: Redis, follower: LogFollower) -> None:
    sink = Sink()
    writer = await open_log(redis, "a")
    async with follower.follow("a") as subscription, follower.follow("a") as witness:
        batches, seen = subscription.batches(idle_seconds=50), witness.batches(idle_seconds=50)
        await writer.publish([b"1"])
        assert [entry.number for entry in await anext(batches)] == [1]
        await anext(seen)
        with subscription.pouring(sink):
            await writer.publish([b"2"])
            await anext(seen)  # the reader is still busy with the first
            assert sink.taken == []
            assert [entry.number for entry in await anext(batches)] == [2]
        await batches.aclose()
        await seen.aclose()


async def test_what_a_sink_takes_is_no_silence(redis: Redis, follower: LogFollower) -> None:
    taken_at: list[float] = []
    loop = asyncio.get_running_loop()

    def takes(_: list[LogEntry]) -> bool:
        taken_at.append(loop.time())
        return True

    writer = await open_log(redis, "a")
    async with follower.follow("a") as subscription:
        reading = asyncio.create_task(anext(subscription.batches(idle_seconds=0.1)))
        await asyncio.sleep(0)
        with subscription.pouring(takes):
            while not reading.done() and len(taken_at) < 200:
                await writer.publish([b"x"])
            assert await reading == []
    assert not taken_at or loop.time() - taken_at[-1] > 0.09


async def test_a_sink_that_fails_loses_nothing() -> None:
    def fails(_: list[LogEntry]) -> bool:
        raise ValueError("a mistake")

    subscription = LogSubscription("a", 0)
    with subscription.pouring(fails), pytest.raises(ValueError, match="a mistake"):
        subscription.deliver([LogEntry(1, b"g", b"x", ends=True)])
    [batch] = [batch async for batch in subscription.batches(idle_seconds=50)]
    assert [entry.number for entry in batch] == [1]
