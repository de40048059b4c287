"""Looking at the queue: once for all who ask together, also at a Redis that does not answer."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.queueing import places
from gateway.queueing.places import QueueClient
from jan.errors import UnavailableError
from jan.queue.bounds import EVEN
from jan.queue.jobs import JobQueue
from jan.queue.look import QueueSnapshot
from jan.queue.scripts import Scripts


@pytest.mark.parametrize("answers", [True, False])
async def test_those_who_ask_together_look_once(redis: Redis, answers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for an answer asks once a second: a Redis that hangs would keep a thousand waiting in turn."""
    looks = 0
    hangs = asyncio.Event()

    async def look(*_: object) -> QueueSnapshot:
        nonlocal looks
        looks += 1
        await hangs.wait()
        if not answers:
            raise RedisTimeoutError
        return QueueSnapshot()

    monkeypatch.setattr(places, "look", look)
    scripts = Scripts.register(redis)
    client = QueueClient(redis, scripts, JobQueue(redis, scripts), EVEN)
    # The first look began before the others asked, who therefore look again: all of them once.
    asking = [asyncio.create_task(client.look(most_age_seconds=0)) for _ in range(5)]
    await asyncio.sleep(0)
    hangs.set()
    told = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(each, QueueSnapshot if answers else UnavailableError) for each in told)
    assert looks <= 2
    if not answers:
        with pytest.raises(UnavailableError):
            await client.look()
        assert looks == 2
