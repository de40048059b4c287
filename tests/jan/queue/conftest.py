"""The queue on a real Redis."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from jan.queue.jobs import JobQueue
from jan.queue.scripts import Scripts


@pytest.fixture
def scripts(redis: Redis) -> Scripts:
    return Scripts.register(redis)


@pytest.fixture
def queue(redis: Redis, scripts: Scripts) -> JobQueue:
    return JobQueue(redis, scripts)
