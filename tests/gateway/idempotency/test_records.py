"""Recorded answers in Redis: how long they live, and how much of them is kept."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from gateway.idempotency import records
from gateway.idempotency.records import ClaimLostError, RecordedAnswers
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
    await slow.beat()  # in the last moment
    assert (await second.take_over("k", begun)) == (begun, False)
    for _ in range(3):
        for answers in (second, third):
            await answers.look()
        now += LEASE_SECONDS / 2
    taken, claimed = await second.take_over("k", begun)
    assert (claimed, taken.route, taken.body) == (True, "POST /v1/threads", "b")
    assert (await third.take_over("k", begun)) == (taken, False)
    assert await first.keep("k", replace(begun, status=200, content=b"old")) is False
    assert await second.keep("k", replace(taken, status=200, content=b"new")) is True
    found, claimed = await third.claim("k", "POST /v1/threads", "b")
    assert (found.content, claimed) == (b"new", False)
    assert (await third.take_over("k", taken))[1] is False


@pytest.mark.parametrize("was_seen", [True, False])
async def test_a_gateway_whose_lease_is_gone_counts_as_gone_when_it_stays_away(
    redis: Redis, scripts: Scripts, was_seen: bool
) -> None:
    """An engine host may have removed it, but Redis may as well have forgotten it: whoever lives beats again."""
    now = 0.0
    first = Attendance(redis)
    answers = RecordedAnswers(redis, scripts, Attendance(redis), monotonic=lambda: now)
    begun, _ = await RecordedAnswers(redis, scripts, first).claim("k", "POST /v1/threads", "b")
    if was_seen:
        await answers.look()
    for beats in (True, False):
        await first.leave()
        for _ in range(3):
            await answers.look()
            assert (await answers.take_over("k", begun)) == (begun, False)
            now += LEASE_SECONDS / 4
        if beats:
            await first.beat()
            await answers.look()
    for _ in range(2):
        await answers.look()
        now += LEASE_SECONDS / 4
    assert (await answers.take_over("k", begun))[1] is True


async def test_a_gateway_that_was_removed_because_it_stood_still_is_not_waited_for_anew(
    redis: Redis, scripts: Scripts
) -> None:
    now = 0.0
    first = Attendance(redis)
    answers = RecordedAnswers(redis, scripts, Attendance(redis), monotonic=lambda: now)
    begun, _ = await RecordedAnswers(redis, scripts, first).claim("k", "POST /v1/threads", "b")
    assert (await answers.take_over("k", begun))[1] is False
    for _ in range(2):
        await answers.look()
        now += LEASE_SECONDS / 2
    await first.leave()
    await answers.look()
    assert (await answers.take_over("k", begun))[1] is True


async def test_a_redis_that_forgot_a_request_in_hand_is_told_of_it_again(
    redis: Redis, scripts: Scripts, answers: RecordedAnswers
) -> None:
    others = RecordedAnswers(redis, scripts, Attendance(redis))
    begun, _ = await answers.claim("k", "POST /v1/threads", "b")
    async with answers.held("k", begun):
        await redis.flushall()
        await answers.renew()
        assert (await others.claim("k", "POST /v1/threads", "b")) == (begun, False)
        await redis.flushall()
        await answers.keep("k", replace(begun, status=200, content=b"{}"))
        await answers.renew()
    assert (await others.claim("k", "POST /v1/threads", "b"))[0].content == b"{}"


async def test_what_another_gateway_answers_is_stopped_at_the_next_renewal(
    redis: Redis, scripts: Scripts, answers: RecordedAnswers
) -> None:
    others = RecordedAnswers(redis, scripts, Attendance(redis))
    begun, _ = await answers.claim("k", "POST /v1/threads", "b")

    async def work() -> None:
        async with answers.held("k", begun):
            await asyncio.Event().wait()

    working = asyncio.create_task(work())
    await answers.renew()
    await redis.flushall()
    taken, _ = await others.claim("k", "POST /v1/threads", "b")
    await answers.renew()
    with pytest.raises(ClaimLostError):
        await working
    assert await answers.find("k") == taken


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


async def test_what_does_not_end_in_time_is_ended_when_the_gateway_stops(
    answers: RecordedAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what that begins in turn, so that nothing asks Redis when its client is closed."""
    monkeypatch.setattr(records, "CLOSE_SECONDS", 0.0)
    tasks: list[asyncio.Task[None]] = []

    async def work(more: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            if more:
                tasks.append(answers.run(work(more - 1), "more"))

    async with answers.running():
        tasks.append(answers.run(work(2), "work"))
        await asyncio.sleep(0)
    assert [task.cancelled() for task in tasks] == [True] * len(tasks)
    assert len(tasks) >= 2


async def test_a_renewal_that_comes_late_takes_no_day_from_an_answer(redis: Redis, answers: RecordedAnswers) -> None:
    record, _ = await answers.claim("k", "POST /v1/threads", "b")
    kept = replace(record, status=200, content=b"{}")
    key = keys.recorded("k")
    async with answers.held("k", record):
        await redis.expire(key, 5)
        await answers.renew()
        assert 5 < await redis.ttl(key) <= keys.ANSWERING_TTL_SECONDS
        await redis.set(key, kept.to_bytes(), ex=keys.IDLE_TTL_SECONDS)
        await answers.renew()
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
