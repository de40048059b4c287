"""Streams of runs that Redis forgot: gone on with where nothing of the answer was told, ended where something was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from gateway.runs import executor as executor_module
from gateway.runs.log import RunLog
from gateway.runs.retelling import Told
from jan import keys
from jan.queue.subscription import LogEntry
from jan.queue.waits import Wait, WaitKind, tell_wait
from tests.fixtures.gateway import Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.routes.test_runs import new_thread, parse_events, texts


@pytest.fixture(autouse=True)
def quick_reconciler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_module, "RECONCILE_SECONDS", 0.05)
    monkeypatch.setattr(executor_module, "RENEW_SECONDS", 0.02)


@asynccontextmanager
async def streamed(gateway: Gateway, thread_id: str) -> AsyncIterator[aiohttp.ClientResponse]:
    body = {"assistant_id": "jan", "stream": True}
    async with gateway.client.post(f"/v1/threads/{thread_id}/runs", json=body) as response:
        yield response


async def read_until(response: aiohttp.ClientResponse, event: str) -> str:
    """What was told up to this event's name."""
    text = ""
    while not text.endswith(f"event: {event}\n"):
        line = (await response.content.readline()).decode()
        assert line, text
        text += line
    return text


@pytest.mark.parametrize("told", ["thread.run.queued", "thread.run.in_progress"])
async def test_a_stream_that_told_nothing_of_the_answer_goes_on_with_the_new_one(
    gateway: Gateway, worker: ScriptedWorker, redis: Redis, told: str
) -> None:
    thread_id = await new_thread(gateway, "Hi")
    async with streamed(gateway, thread_id) as response:
        job = await worker.take()
        if told == "thread.run.in_progress":
            await job.begin()
        text = await read_until(response, told)
        await redis.flushall()
        await worker.answer(["It", " is", " Lyon"])
        text += (await response.content.read()).decode()
    events = parse_events(text)
    names = [name for name, _ in events]
    assert names[:3] == ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
    assert names[-2:] == ["thread.run.completed", "done"]
    assert names.count("thread.run.in_progress") == names.count("thread.message.completed") == 1
    assert "".join(deltas(events)) == "It is Lyon"
    assert await texts(gateway, thread_id) == [("user", "Hi"), ("assistant", "It is Lyon")]


async def test_a_stream_does_not_mix_two_answers_when_redis_forgets(
    gateway: Gateway, worker: ScriptedWorker, redis: Redis
) -> None:
    thread_id = await new_thread(gateway, "Hi")
    async with streamed(gateway, thread_id) as response:
        job = await worker.take()
        await job.begin()
        await job.say("The capital", " is")
        text = await read_until(response, "thread.message.delta")
        await redis.flushall()
        await worker.answer(["I", " think", " it", " may", " be", " Lyon"])
        text += (await response.content.read()).decode()
    events = parse_events(text)
    names = [name for name, _ in events]
    assert names[-2:] == ["error", "done"]
    assert events[-2][1]["code"] == "stream_lost"
    assert "thread.message.completed" not in names
    assert "The capital is".startswith("".join(deltas(events)))


async def test_a_stream_ends_when_redis_comes_back_with_less_than_was_told(
    gateway: Gateway, worker: ScriptedWorker, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lost its last moments, and what is told anew may never come as far as this reader is."""
    monkeypatch.setattr("gateway.runs.listening.SILENCE_SECONDS", 0.05)
    thread_id = await new_thread(gateway, "Hi")
    async with streamed(gateway, thread_id) as response:
        job = await worker.take()
        await job.begin()
        await job.say("The")
        text = await read_until(response, "thread.message.delta")
        saved = {key: await redis.dump(key) or b"" async for key in redis.scan_iter("jan:log:run_*")}
        await job.say(" capital", " is")
        while " is" not in text:
            text += (await response.content.readline()).decode()
        for key, value in saved.items():
            await redis.restore(key, keys.IDLE_TTL_SECONDS * 1000, value, replace=True)
        text += (await response.content.read()).decode()
    assert [data.get("code") for name, data in parse_events(text) if name == "error"] == ["stream_lost"]


async def test_a_stream_ends_when_its_gateway_died_between_the_record_of_the_end_and_its_event(
    gateway: Gateway, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(RunLog, "close", never)
    for module in ("listening", "stream"):
        monkeypatch.setattr(f"gateway.runs.{module}.SILENCE_SECONDS", 0.05)
    thread_id = await new_thread(gateway, "Hi")
    async with streamed(gateway, thread_id) as response:
        await worker.answer(["Paris"])
        events = parse_events((await response.content.read()).decode())
    assert deltas(events) == ["Paris"]
    assert [name for name, _ in events[-2:]] == ["thread.run.completed", "done"]


async def test_another_telling_must_begin_with_the_same_events_of_the_same_objects() -> None:
    def entry(number: int, name: str, id_: str = "x") -> LogEntry:
        return LogEntry(number, b"g", f'event: {name}\ndata: {{"id":"{id_}"}}\n\n'.encode(), ends=False)

    begun = [entry(1, "thread.run.created"), entry(2, "thread.run.queued"), entry(3, "thread.run.step.created", "text")]
    told = Told(0)
    told.add(begun)
    more = entry(4, "thread.run.step.in_progress", "text")
    assert told.may_go_on
    assert told.continued_by([*begun, more]) == [more]
    assert told.continued_by([*begun[:2], entry(3, "thread.run.step.created", "calls")]) is None
    assert told.continued_by([*begun[:2], entry(3, "thread.run.in_progress", "text")]) is None
    told.add([more, entry(5, "thread.message.delta")])
    assert [other.may_go_on for other in (told, Told(3))] == [False, False]
    assert Told(2).continued_by(begun) == begun[2:]


async def test_a_streams_comments_tell_how_its_model_loads(gateway: Gateway, worker: ScriptedWorker) -> None:
    thread_id = await new_thread(gateway, "Hi")
    async with streamed(gateway, thread_id) as response:
        await answer_behind_a_load(worker, response)
        assert b"thread.run.completed" in await response.content.read()


async def answer_behind_a_load(worker: ScriptedWorker, response: aiohttp.ClientResponse) -> None:
    """Answer once the stream has told how far the load of its model is."""
    job = await worker.take()
    await tell_wait(worker.scripts, job.lease, Wait(WaitKind.LOADING, 0.42, "loading weights 42%"))
    while (line := await response.content.readline()) != b": loading progress=42 activity=loading weights 42%\n":
        assert line
    await tell_wait(worker.scripts, job.lease, None)
    await job.begin()
    await job.say("Hello")
    await job.finish()


def deltas(events: list[tuple[str, Any]]) -> list[str]:
    """The pieces of text that were told."""
    return [
        part["text"]["value"]
        for name, data in events
        if name == "thread.message.delta"
        for part in data["delta"]["content"]
    ]


def test_another_telling_that_differs_is_not_waited_for_again() -> None:
    def entry(number: int, name: str) -> LogEntry:
        return LogEntry(number, b"g", f'event: thread.run.{name}\ndata: {{"id": "run_1"}}\n\n'.encode(), ends=False)

    told = Told(after=0)
    told.add([entry(1, "created"), entry(2, "queued"), entry(3, "in_progress")])
    assert told.may_go_on
    assert told.continued_by([entry(1, "created"), entry(2, "queued"), entry(3, "failed")]) is None
    assert not told.may_go_on
