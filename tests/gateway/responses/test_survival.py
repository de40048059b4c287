"""A stored response outlives the gateway that accepted it."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from gateway.services.storage import StorageClient
from jan.errors import UnavailableError
from jan.storage.v1 import messages_pb2
from tests.fixtures.gateway import MODEL_ID, Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.routes.test_runs import parse_events


async def test_a_response_is_taken_over_and_told_from_any_event(
    storage_server: StorageServer, redis_server: RedisServer, redis: Any, worker: ScriptedWorker
) -> None:
    write_model(storage_server.janroot)
    body = {"model": MODEL_ID, "input": "Hi", "stream": True}
    async with running_gateway(storage_server, redis_server) as first:
        answer = await first.client.post("/v1/responses", json=body)
        line = (await answer.content.readuntil(b"\n\n")).decode()
        [(name, created)] = parse_events(line)
        assert name == "response.created"
        job = await worker.take()
        await job.begin()
        await job.say("Hello")
        answer.close()
    async with running_gateway(storage_server, redis_server) as second:
        await job.say(" there")
        await job.finish()
        path = f"/v1/responses/{created['response']['id']}"
        async with second.client.get(f"{path}?stream=true&starting_after=0") as response:
            events = parse_events(await response.text())
        assert [data["sequence_number"] for _, data in events] == list(range(1, len(events) + 1))
        assert [data["delta"] for name, data in events if name.endswith("text.delta")] == ["Hello", " there"]
        assert events[-1][1]["response"] == await second.json("GET", path)


async def test_a_response_that_cannot_be_told_is_not_asked_for_again(
    gateway: Gateway, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def is_away(self: StorageClient, request: messages_pb2.ListMessagesRequest) -> None:
        raise UnavailableError("Storage is away.")

    asking = asyncio.create_task(gateway.client.post("/v1/responses", json={"model": MODEL_ID, "input": "Hi"}))
    job = await worker.take()
    await job.begin()
    await job.say("Hello")
    monkeypatch.setattr(StorageClient, "list_messages", is_away)
    await job.finish()
    async with await asking as answer:
        error = (await answer.json())["error"]
        assert (answer.status, error["code"]) == (503, "outcome_unknown")
        assert answer.headers["x-should-retry"] == "false"
    monkeypatch.undo()
    [id_] = re.findall(r"resp_\S+", error["message"])
    response = await gateway.json("GET", f"/v1/responses/{id_}")
    assert (response["status"], response["output"][0]["content"][0]["text"]) == ("completed", "Hello")
