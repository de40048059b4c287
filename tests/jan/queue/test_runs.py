"""Who executes a run: one gateway at a time, until it lets go or goes silent."""

from __future__ import annotations

from typing import cast

import pytest
from redis.asyncio import Redis

from jan import keys
from jan.queue.leases import LeaseKind, LeaseState, renew
from jan.queue.runs import RunLeases
from jan.queue.scripts import Scripts


@pytest.fixture
def scripts(redis: Redis) -> Scripts:
    return Scripts.register(redis)


@pytest.fixture
def leases(redis: Redis, scripts: Scripts) -> RunLeases:
    return RunLeases(redis, scripts)


async def test_a_run_is_in_one_gateways_hands(leases: RunLeases, scripts: Scripts) -> None:
    first = await leases.acquire("run_1")
    assert first is not None
    assert await leases.acquire("run_1") is None
    assert await leases.acquire("run_1", seen="somebody:7") is None
    assert await renew(scripts, LeaseKind.RUN, [first.lease]) == [LeaseState.HELD]


async def test_a_run_that_was_let_go_is_taken_by_the_next(leases: RunLeases, scripts: Scripts) -> None:
    first = await leases.acquire("run_1")
    assert first is not None
    await leases.abandon(first.lease)
    second = await leases.acquire("run_1")
    assert second is not None
    assert second.lease.attempt == 2
    await leases.abandon(first.lease)  # too late: it is another's
    states = await renew(scripts, LeaseKind.RUN, [first.lease, second.lease])
    assert states == [LeaseState.LOST, LeaseState.HELD]


async def seen_now(redis: Redis) -> str:
    return cast(dict[bytes, bytes], await redis.hgetall(keys.leases(LeaseKind.RUN)))[b"run_1"].decode()


async def test_a_run_is_taken_from_a_silent_gateway_only_as_it_was_seen(
    leases: RunLeases, scripts: Scripts, redis: Redis
) -> None:
    first = await leases.acquire("run_1")
    assert first is not None
    seen = await seen_now(redis)
    await renew(scripts, LeaseKind.RUN, [first.lease])
    assert await leases.acquire("run_1", seen=seen) is None
    seen = await seen_now(redis)
    assert await leases.acquire("run_1", seen=seen) is not None
    assert await renew(scripts, LeaseKind.RUN, [first.lease]) == [LeaseState.LOST]
