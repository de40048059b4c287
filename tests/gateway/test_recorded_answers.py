"""Recorded answers in Redis: how long they live."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redis.asyncio import Redis

from gateway.recorded_answers import RecordedAnswers
from jan import keys
from jan.queue.scripts import Scripts


@pytest.fixture
def scripts(redis: Redis) -> Scripts:
    return Scripts.register(redis)


@pytest.fixture
def answers(redis: Redis, scripts: Scripts) -> RecordedAnswers:
    return RecordedAnswers(redis, scripts)


async def test_a_renewal_that_comes_late_takes_no_day_from_an_answer(
    redis: Redis, scripts: Scripts, answers: RecordedAnswers
) -> None:
    record, _ = await answers.claim("k", "POST /v1/threads", "b")
    key = keys.recorded("k")
    await redis.expire(key, 5)
    await scripts.settle(keys=[key], args=[record.token, keys.ANSWERING_TTL_SECONDS])
    assert 5 < await redis.ttl(key) <= keys.ANSWERING_TTL_SECONDS
    await answers.keep("k", replace(record, status=200, content=b"{}"))
    await scripts.settle(keys=[key], args=[record.token, keys.ANSWERING_TTL_SECONDS])
    assert await redis.ttl(key) > keys.ANSWERING_TTL_SECONDS
