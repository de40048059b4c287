"""Readers that gather a whole answer, and readers that tell of silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

import jan.queue.follower
from jan.queue.follower import LogFollower
from jan.queue.subscription import MAX_PENDING_BYTES
from tests.jan.queue.test_follower import open_log, read_numbers_of


@pytest.fixture
async def follower(redis: Redis) -> AsyncIterator[LogFollower]:
    follower = LogFollower(redis)
    async with follower.running():
        yield follower


async def test_whoever_gathers_a_whole_answer_is_never_dropped_and_drops_nobody(
    redis: Redis, follower: LogFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks where its job stands, for example, while an answer of many megabytes comes."""
    monkeypatch.setattr(jan.queue.follower, "MAX_BACKLOG_BYTES", 100_000)
    whole, streamed = await open_log(redis, "whole"), await open_log(redis, "streamed")
    async with follower.follow("whole", gathers=True) as gathers, follower.follow("streamed") as reads:
        await streamed.publish([b"x"])
        while reads.cursor < 1:
            await redis.ping()
        for number in (1, 2):
            await whole.publish([b"x" * MAX_PENDING_BYTES], ends=number == 2)
            while gathers.cursor < number:
                await redis.ping()
        assert await read_numbers_of(follower, redis, "afterwards", 50) == list(range(1, 51))
        assert not reads.is_dropped
        numbers = [entry.number async for batch in gathers.batches(idle_seconds=5) for entry in batch]
    assert numbers == [1, 2]


async def test_silence_is_counted_from_when_it_was_told_not_from_when_it_was_noticed(follower: LogFollower) -> None:
    """Else who is long in telling it tells it again at once, where no more than once a second was promised."""
    clock = asyncio.get_running_loop().time
    async with follower.follow("nothing") as subscription:
        batches = subscription.batches(idle_seconds=0.01)
        assert await anext(batches) == []
        told_at = clock()
        again = asyncio.ensure_future(anext(batches))
        await asyncio.sleep(0)
        assert subscription._heard_at >= told_at
        assert await again == []
        await batches.aclose()
