"""Streams of responses that Redis forgot: gone on with unless something of the answer was told."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.runs import executor as executor_module
from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.routes.test_runs import parse_events
from tests.gateway.runs.test_retelling import answer_behind_a_load, read_until


@pytest.fixture(autouse=True)
def quick_reconciler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_module, "RECONCILE_SECONDS", 0.05)
    monkeypatch.setattr(executor_module, "RENEW_SECONDS", 0.02)


def told_text(events: list[tuple[str, Any]]) -> str:
    return "".join(data["delta"] for name, data in events if name == "response.output_text.delta")


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("begins", [True, False])
async def test_a_stream_that_told_nothing_of_the_answer_goes_on_with_the_new_one(
    gateway: Gateway, worker: ScriptedWorker, redis: Redis, background: bool, begins: bool
) -> None:
    body = {"model": MODEL_ID, "input": "Hi", "stream": True, "background": background}
    async with gateway.client.post("/v1/responses", json=body) as response:
        job = await worker.take()
        if begins:
            await job.begin()
        last = "response.in_progress" if begins else "response.queued" if background else "response.created"
        text = await read_until(response, last)
        await redis.flushall()
        await worker.answer(["It", " is", " Lyon"])
        text += (await response.content.read()).decode()
    events = parse_events(text)
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
    names = [name for name, _ in events]
    assert (names[0], names[-1], names.count("response.in_progress")) == ("response.created", "response.completed", 1)
    assert told_text(events) == "It is Lyon"
    whole = events[-1][1]["response"]
    assert await gateway.json("GET", f"/v1/responses/{whole['id']}") == whole


async def test_a_streams_comments_tell_how_its_model_loads(gateway: Gateway, worker: ScriptedWorker) -> None:
    body = {"model": MODEL_ID, "input": "Hi", "stream": True}
    async with gateway.client.post("/v1/responses", json=body) as response:
        await answer_behind_a_load(worker, response)
        assert b"response.completed" in await response.content.read()


async def test_a_stream_does_not_mix_two_answers(gateway: Gateway, worker: ScriptedWorker, redis: Redis) -> None:
    body = {"model": MODEL_ID, "input": "Hi", "stream": True}
    async with gateway.client.post("/v1/responses", json=body) as response:
        job = await worker.take()
        await job.begin()
        await job.say("The capital", " is")
        text = await read_until(response, "response.output_text.delta")
        await redis.flushall()
        await worker.answer(["I", " think", " it", " may", " be", " Lyon"])
        text += (await response.content.read()).decode()
    events = parse_events(text)
    assert (events[-1][0], events[-1][1]["error"]["code"]) == ("error", "stream_lost")
    assert "The capital is".startswith(told_text(events))


@pytest.mark.parametrize("after", [0, 1])
async def test_one_in_the_background_is_taken_up_behind_what_every_telling_begins_with(
    gateway: Gateway, worker: ScriptedWorker, redis: Redis, after: int
) -> None:
    body = {"model": MODEL_ID, "input": "Hi", "background": True}
    id_ = (await gateway.json("POST", "/v1/responses", body))["id"]
    job = await worker.take()
    await job.begin()
    await job.say("The capital")
    while (await gateway.json("GET", f"/v1/responses/{id_}"))["status"] == "queued":
        pass
    await redis.flushall()
    path = f"/v1/responses/{id_}?stream=true&starting_after={after}"
    async with gateway.client.get(path) as response:
        assert response.status == 200
        await worker.answer(["It", " is", " Lyon"])
        events = parse_events(await response.text())
    assert events[0][1]["sequence_number"] == after + 1
    assert told_text(events) == "It is Lyon"
    # What follows numbers of the first answer is not in the second.
    async with gateway.client.get(f"/v1/responses/{id_}?stream=true&starting_after=4") as response:
        assert (response.status, (await response.json())["error"]["code"]) == (410, "stream_expired")


async def test_nothing_is_taken_up_while_what_was_told_is_forgotten(
    gateway: Gateway, worker: ScriptedWorker, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor_module, "RECONCILE_SECONDS", 60.0)
    body = {"model": MODEL_ID, "input": "Hi", "background": True}
    id_ = (await gateway.json("POST", "/v1/responses", body))["id"]
    job = await worker.take()
    await job.begin()
    await job.say("The capital")
    async with gateway.client.get(f"/v1/responses/{id_}?stream=true") as response:
        await read_until(response, "response.output_text.delta")
    await redis.flushall()
    async with gateway.client.get(f"/v1/responses/{id_}?stream=true&starting_after=4") as response:
        assert (response.status, (await response.json())["error"]["code"]) == (410, "stream_expired")
