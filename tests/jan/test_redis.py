"""A client of Redis: once closed it stays closed, whatever was still under way, and it loses no cancellation."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from jan.queue.scripts import Scripts
from jan.redis import connect
from tests.fixtures.redis import RedisServer


async def until_alone(redis: Redis) -> None:
    """Wait until nobody else is connected. A connection that nobody closes would stay until the timeout."""
    while len(await redis.client_list()) > 1:
        pass


@pytest.mark.parametrize("steps", range(12))
async def test_what_was_connecting_or_asking_when_the_client_was_closed_leaves_no_connection(
    redis: Redis, redis_server: RedisServer, steps: int
) -> None:
    client = connect(redis_server.url)
    scripts = Scripts.register(client)
    asking = [
        asyncio.ensure_future(step) for step in (client.get("k"), client.get("l"), client.ttl("m"), scripts.look())
    ]
    for _ in range(steps):
        await asyncio.sleep(0)
    await client.aclose()
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(outcome, RedisError) for outcome in outcomes if isinstance(outcome, BaseException))
    await until_alone(redis)
    for again in (client.dbsize, scripts.look):
        with pytest.raises(RedisError):
            await again()
    await until_alone(redis)


async def test_a_cancellation_is_heard_whenever_it_comes(redis: Redis) -> None:
    """redis-py alone loses about one in twenty of these: the command was written in that moment."""

    async def ask_for_ever() -> None:
        while True:
            await redis.ping()

    for moment in range(400):
        task = asyncio.create_task(ask_for_ever())
        for _ in range(moment % 16):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=10)
        assert done, moment
