"""Several logs in one write: order, fencing of each, a Redis that breaks, callers who leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from jan import keys
from jan.inference.v1 import jobs_pb2
from jan.queue.jobs import JobQueue
from jan.queue.leases import Lease, LeaseLostError
from jan.queue.publisher import MOST_UNWRITTEN_BYTES, LogPublisher, PublishedLog
from jan.queue.scripts import Script, Scripts
from jan.redis import StreamEntry

NEVER = 1000.0
Behaviour = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


class Wire:
    """The way of each write to Redis, as the test wants it; `writes` counts the logs of each."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.writes: list[int] = []
        self.behaviours: list[Behaviour] = []

    async def __call__(self, *, keys: list[str], args: list[Any]) -> Any:
        self.writes.append(len(keys) // 3)
        behaviour = self.behaviours.pop(0) if self.behaviours else None

        async def ask() -> Any:
            return await self._script(keys=keys, args=args)

        return await (behaviour(ask) if behaviour else ask())


class Logs:
    """Opens logs of jobs that are in this test's hands."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.scripts = Scripts.register(redis)
        self.queue = JobQueue(redis, self.scripts)
        self.wire = Wire(self.scripts.publish)
        scripts = replace(self.scripts, publish=cast(Script, self.wire))
        self.publisher = LogPublisher(scripts, linger_seconds=NEVER, retry_seconds=0.01)
        self.leases: dict[str, Lease] = {}

    async def open(self, log_id: str) -> PublishedLog:
        await self.queue.submit(jobs_pb2.Job(id=log_id))
        taken = await self.queue.take()
        assert taken is not None
        self.leases[log_id] = taken.lease
        return self.publisher.open(taken.lease, published=taken.published)

    async def begin(self, *log_ids: str) -> list[PublishedLog]:
        """Open logs, and have each say its first word."""
        logs = [await self.open(log_id) for log_id in log_ids]
        for log in logs:
            await log.say([b"first"])
            await log.flush()
        self.wire.writes.clear()
        return logs

    async def read(self, log_id: str) -> list[bytes]:
        """What a log holds; fails on a gap."""
        entries = cast(list[StreamEntry], await self.redis.xrange(keys.log(log_id)))
        assert [raw_id for raw_id, _ in entries] == [b"%d-0" % (place + 1) for place in range(len(entries))]
        return [fields[b"p"] for _, fields in entries]

    async def lose(self, log_id: str) -> None:
        """Give the lease to somebody else."""
        await self.redis.hset(keys.job(log_id), "holder", "somebody")


@pytest.fixture
async def logs(redis: Redis) -> AsyncIterator[Logs]:
    logs = Logs(redis)
    async with logs.publisher.running():
        yield logs


async def test_what_several_answers_say_is_one_write(logs: Logs) -> None:
    opened = await logs.begin("a", "b", "c")
    for word in (b"second", b"third"):
        for log in opened:
            await log.say([word])
        await opened[0].flush()
    assert logs.wire.writes == [3, 3]
    for log_id in "abc":
        assert await logs.read(log_id) == [b"first", b"second", b"third"]


async def test_a_lone_answer_waits_for_nobody(logs: Logs) -> None:
    [log] = await logs.begin("a")
    await log.say([b"second"])
    await log.flush()
    assert await logs.read("a") == [b"first", b"second"]


async def test_a_first_word_takes_along_what_waits(logs: Logs) -> None:
    first, _silent = await logs.begin("a", "b")
    await first.say([b"second"])
    await (await logs.open("c")).say([b"first"])
    await first.flush()
    assert logs.wire.writes == [2]


async def test_an_end_goes_with_what_others_say_and_is_waited_for_by_nobody(logs: Logs) -> None:
    first, ending = await logs.begin("a", "b")
    await first.say([b"second"])
    await ending.end([b"last"])
    assert logs.wire.writes == [2]
    assert await logs.read("b") == [b"first", b"last"]
    assert await logs.redis.hget(keys.job("b"), "state") == b"ended"
    await first.say([b"third"])
    await first.flush()
    assert await logs.read("a") == [b"first", b"second", b"third"]


async def test_a_whole_answer_waits_for_nobody(logs: Logs) -> None:
    await logs.begin("a")
    await (await logs.open("b")).end([b"all", b"end"])
    assert await logs.read("b") == [b"all", b"end"]


async def test_a_closed_log_is_waited_for_by_nobody(logs: Logs) -> None:
    first, leaving = await logs.begin("a", "b")
    leaving.close()
    await first.say([b"second"])
    await first.flush()


async def test_nobody_is_waited_for_long(redis: Redis) -> None:
    logs = Logs(redis)
    logs.publisher = LogPublisher(logs.scripts, linger_seconds=0.001)
    async with logs.publisher.running():
        first, _silent = await logs.begin("a", "b")
        await first.say([b"second"])
        await first.flush()


async def test_a_lost_lease_is_refused_and_touches_no_other(logs: Logs) -> None:
    first, lost, third = await logs.begin("a", "b", "c")
    await logs.lose("b")
    for log in (first, lost, third):
        await log.say([b"second"])
    await first.flush()
    await third.flush()
    with pytest.raises(LeaseLostError):
        await lost.flush()
    with pytest.raises(LeaseLostError):
        await lost.say([b"third"])
    assert logs.wire.writes == [3]
    assert await logs.read("b") == [b"first"]
    for log_id in "ac":
        assert await logs.read(log_id) == [b"first", b"second"]


async def test_a_forgotten_log_is_refused_and_touches_no_other(logs: Logs) -> None:
    first, forgotten = await logs.begin("a", "b")
    await logs.redis.delete(keys.log("b"))
    await first.say([b"second"])
    await forgotten.say([b"second"])
    await first.flush()
    with pytest.raises(LeaseLostError):
        await forgotten.flush()
    assert await logs.read("a") == [b"first", b"second"]
    assert not await logs.redis.exists(keys.job("b"), keys.log("b"))


async def test_a_log_that_cannot_be_written_holds_up_no_other(logs: Logs) -> None:
    first, broken = await logs.begin("a", "b")
    await logs.redis.rename(keys.log("b"), "kept")
    await logs.redis.set(keys.log("b"), "no stream")
    await first.say([b"second"])
    await broken.say([b"second"])
    await first.flush()
    assert await logs.read("a") == [b"first", b"second"]
    await logs.redis.rename("kept", keys.log("b"))
    await broken.flush()
    assert await logs.read("b") == [b"first", b"second"]


@pytest.mark.parametrize("is_seen", [True, False])
async def test_after_a_broken_connection_every_event_stands_once(logs: Logs, is_seen: bool) -> None:
    async def breaks(ask: Callable[[], Awaitable[Any]]) -> Any:
        if is_seen:
            await ask()
        await second.say([b"meanwhile"])
        raise RedisConnectionError("gone")

    first, second = await logs.begin("a", "b")
    logs.wire.behaviours = [breaks, breaks]
    await first.say([b"second"])
    await second.say([b"second"])
    await first.end([b"last"])
    await second.flush()
    assert await logs.read("a") == [b"first", b"second", b"last"]
    assert await logs.read("b") == [b"first", b"second", b"meanwhile", b"meanwhile"]


async def test_an_end_arrives_though_its_caller_leaves(logs: Logs) -> None:
    async def hangs(ask: Callable[[], Awaitable[Any]]) -> Any:
        begun.set()
        await go_on.wait()
        return await ask()

    begun, go_on = asyncio.Event(), asyncio.Event()
    first, cancelled = await logs.begin("a", "b")
    logs.wire.behaviours = [hangs]
    await first.say([b"second"])
    await cancelled.say([b"second"])
    await begun.wait()
    ending = asyncio.create_task(cancelled.end([b"last"]))
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.gather(ending, return_exceptions=True)
    go_on.set()
    await first.end([b"last"])
    await cancelled.flush()
    assert await logs.read("a") == [b"first", b"second", b"last"]
    assert await logs.read("b") == [b"first", b"second", b"last"]


async def test_what_a_closed_log_left_unsaid_is_not_written(logs: Logs) -> None:
    async def breaks(_: Callable[[], Awaitable[Any]]) -> Any:
        leaving.close()
        raise RedisConnectionError("gone")

    first, leaving = await logs.begin("a", "b")
    logs.wire.behaviours = [breaks]
    await first.say([b"second"])
    await leaving.say([b"second"])
    await first.flush()
    assert await logs.read("a") == [b"first", b"second"]
    assert await logs.read("b") == [b"first"]


async def test_whoever_says_too_much_waits_for_redis(logs: Logs) -> None:
    async def hangs(ask: Callable[[], Awaitable[Any]]) -> Any:
        begun.set()
        await go_on.wait()
        return await ask()

    begun, go_on = asyncio.Event(), asyncio.Event()
    [log] = await logs.begin("a")
    logs.wire.behaviours = [hangs]
    saying = asyncio.create_task(log.say([b"x" * (MOST_UNWRITTEN_BYTES + 1)]))
    await begun.wait()
    assert not saying.done()
    go_on.set()
    await saying
