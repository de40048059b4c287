"""Recorded answers in Redis: how long they live, and how much of them is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redis.asyncio import Redis

from gateway.idempotency.records import RecordedAnswers
from jan import keys
from jan.queue.attendance import Attendance
from jan.queue.leases import LEASE_SECONDS
from jan.queue.scripts import Scripts


@pytest.fixture
def scripts(redis: Redis) -> Scripts:
    return Scripts.register(redis)


@pytest.fixture
def answers(redis: Redis, scripts: Scripts) -> RecordedAnswers:
    return RecordedAnswers(redis, scripts, Attendance(redis))


async def test_a_request_is_taken_over_from_a_gateway_whose_lease_stands_still_and_from_no_other(
    redis: Redis, scripts: Scripts
) -> None:
    """Seen by the watcher's own clock alone. Once it is taken over the first one changes nothing any more."""
    now = 0.0
    slow = Attendance(redis)
    first = RecordedAnswers(redis, scripts, slow)
    second, third = (RecordedAnswers(redis, scripts, Attendance(redis), monotonic=lambda: now) for _ in range(2))
    begun, _ = await first.claim("k", "POST /v1/threads", "b")
    for beats in (True, True, False):
        if beats:
            await slow.beat()
        for answers in (second, third):
            await answers.look()
            found, claimed = await answers.take_over("k", begun)
            assert (found, claimed) == (begun, False)
        now += LEASE_SECONDS / 2
    for answers in (second, third):
        await answers.look()
    taken, claimed = await second.take_over("k", begun)
    assert (claimed, taken.route, taken.body) == (True, "POST /v1/threads", "b")
    assert (await third.take_over("k", begun)) == (taken, False)
    await first.keep("k", replace(begun, status=200, content=b"old"))
    await second.keep("k", replace(taken, status=200, content=b"new"))
    found, claimed = await third.claim("k", "POST /v1/threads", "b")
    assert (found.content, claimed) == (b"new", False)
    assert (await third.take_over("k", taken))[1] is False


async def test_a_request_is_taken_over_at_once_from_a_gateway_that_is_known_to_be_gone(
    redis: Redis, answers: RecordedAnswers, scripts: Scripts
) -> None:
    gone = Attendance(redis)
    begun, _ = await RecordedAnswers(redis, scripts, gone).claim("k", "POST /v1/threads", "b")
    assert (await answers.take_over("k", begun))[1] is False
    await gone.leave()  # as an engine host does that saw its lease stand still
    assert (await answers.take_over("k", begun))[1] is True


async def test_whoever_asks_too_early_is_told_when_a_silent_gateway_counts_as_gone(
    redis: Redis, scripts: Scripts
) -> None:
    now = 0.0
    answers = RecordedAnswers(redis, scripts, Attendance(redis), monotonic=lambda: now)
    begun, _ = await RecordedAnswers(redis, scripts, Attendance(redis)).claim("k", "POST /v1/threads", "b")
    await answers.look()
    told = []
    for _ in range(4):
        told.append(answers.free_in_seconds(begun))
        now += 2.5
    assert told == [1, 1, 3, 1]


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


def name_of(holder: str, number: int) -> str:
    return f"{holder}.{number}"


async def kept(redis: Redis, holder: str) -> list[int]:
    """Which of a holder's answers are there."""
    return [number for number in range(10) if await redis.exists(keys.recorded(name_of(holder, number)))]


async def answer(answers: RecordedAnswers, holder: str, number: int, size: int = 1000) -> None:
    name = name_of(holder, number)
    record, _ = await answers.claim(name, "POST /v1/embeddings", "b")
    for _ in range(2):  # as a stream is: at its beginning and at its end
        await answers.keep(name, replace(record, status=200, content=b"x" * size))


async def test_the_oldest_answers_give_way_to_newer_ones(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """First those of who asks for much, then those of everybody; nothing is left to count when all are gone."""
    monkeypatch.setattr(keys, "RECORDED_OF_HOLDER_MAX_BYTES", 6_000)
    monkeypatch.setattr(keys, "RECORDED_IN_ALL_MAX_BYTES", 14_000)
    now = "local function now_ms() return redis.call('INCR', 'test:now') end\n"
    scripts = Scripts.register(redis, clock=now)
    answers = RecordedAnswers(redis, scripts, Attendance(redis))
    await answer(answers, "ann", 0)
    for number in range(10):
        await answer(answers, "bob", number)
    assert await kept(redis, "ann") == [0]
    assert await kept(redis, "bob") == [7, 8, 9]
    for number in range(3):
        await answer(answers, "eve", number)
    assert await kept(redis, "ann") == [0]
    for number in range(3):
        await answer(answers, "dan", number)
    assert (await kept(redis, "ann"), await kept(redis, "bob")) == ([], [8, 9])
    await redis.incrby("test:now", keys.IDLE_TTL_SECONDS * 1000)  # all of these have expired
    await answer(answers, "ann", 1)
    sizes = await redis.execute_command("HGETALL", keys.RECORDED_BYTES)  # type: ignore[no-untyped-call]
    assert set(sizes) == {b"ann.1", b"of ann", b"all"}
    assert len(set(sizes.values())) == 1
    assert await redis.zcard(keys.RECORDED_NAMES) == 1
    record, _ = await answers.claim("ann.2", "POST /v1/embeddings", "b")
    await answers.drop("ann.2", record)
    assert await redis.zcard(keys.RECORDED_NAMES) == 1
