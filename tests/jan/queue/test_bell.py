"""Signals to workers: none is missed, also when Redis was emptied and its clock went back."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator

import pytest
from redis.asyncio import Redis

from jan import keys
from jan.queue.bell import Bell, Signal, SignalKind
from jan.queue.jobs import JobQueue
from tests.jan.queue.test_jobs import job, take

# By a clock of Redis that is far ahead of its present one.
FAR_AHEAD = 10_000_000_000_000


async def heard(signals: AsyncGenerator[list[Signal], None], wanted: Signal) -> None:
    """Listen until this signal comes."""
    async for batch in signals:
        if wanted in batch:
            return


async def listened(redis: Redis) -> AsyncGenerator[list[Signal], None]:
    """A listener that has heard a signal by a clock which is far ahead."""
    signals = Bell(redis).listen(idle_seconds=0.01)
    assert await anext(signals) == []  # it has its place
    ahead = Signal(SignalKind.SUBMITTED, "ahead")
    await redis.xadd(keys.BELL, {ahead.kind: ahead.job_id}, id=f"{FAR_AHEAD}-0")
    await redis.expire(keys.BELL, keys.IDLE_TTL_SECONDS)
    await heard(signals, ahead)
    return signals


@pytest.mark.parametrize("forgotten", ["everything", "what came last"])
async def test_a_listener_hears_what_is_rung_after_redis_was_emptied_and_its_clock_went_back(
    queue: JobQueue, redis: Redis, forgotten: str
) -> None:
    signals = await listened(redis)
    await redis.flushall()
    if forgotten == "what came last":  # it came back with what it held earlier
        await redis.xadd(keys.BELL, {SignalKind.CANCELLED: "before"}, id="5-5")
        await redis.expire(keys.BELL, keys.IDLE_TTL_SECONDS)
    await heard(signals, Signal(SignalKind.MISSED, ""))
    await queue.submit(job("j1"))
    await take(queue)
    await queue.cancel("j1")
    await heard(signals, Signal(SignalKind.CANCELLED, "j1"))
    await signals.aclose()


async def test_what_was_rung_before_it_is_noticed_is_told_to_be_missed_once(queue: JobQueue, redis: Redis) -> None:
    """Which jobs were meant is not known: the listener asks for each of his, at once."""
    signals = await listened(redis)
    await redis.flushall()
    await queue.cancel("j1", may_come=True)
    told = [await anext(signals) for _ in range(4)]
    assert [Signal(SignalKind.MISSED, "")] in told
    assert list(itertools.chain(*told)) == [Signal(SignalKind.MISSED, "")]
    await signals.aclose()


async def test_the_cancel_of_a_job_that_redis_forgot_is_rung_for_who_has_it_in_hand(
    queue: JobQueue, redis: Redis
) -> None:
    await queue.submit(job("j1"))
    await take(queue)
    await redis.flushall()
    signals = Bell(redis).listen(idle_seconds=0.01)
    assert await anext(signals) == []
    await queue.cancel("j1", may_come=True)
    await asyncio.wait_for(heard(signals, Signal(SignalKind.CANCELLED, "j1")), 10)
    await signals.aclose()
