"""The two things that the tutorial holds in its hands most often."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from jan.queue.jobs import JobQueue
from jan.queue.scripts import Scripts


@pytest.fixture
def scripts(redis: Redis) -> Scripts:
    """The queue's atomic steps, on an empty Redis."""
    return Scripts.register(redis)


@pytest.fixture
def queue(redis: Redis, scripts: Scripts) -> JobQueue:
    """The queue itself."""
    return JobQueue(redis, scripts)
