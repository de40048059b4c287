"""An `Idempotency-Key` on what makes nothing but its answer: a response with `store: false`, and a compaction."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import ClientResponse

from jan.errors import UnavailableError
from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.idempotency.test_requests import post, until_settled
from tests.gateway.routes.test_runs import parse_events

RESPONSES = "/v1/responses"


def unstored(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL_ID, "input": "Hi", "store": False, **fields}


def compaction() -> dict[str, Any]:
    return {"model": MODEL_ID, "input": "Hi"}


async def answered_anew(gateway: Gateway, worker: ScriptedWorker, path: str, body: dict[str, Any]) -> str:
    """What the request is answered with when it is sent again, and the model is asked again."""
    asking = asyncio.create_task(post(gateway, path, body))
    await worker.answer(["anew"])
    status, text, _ = await asking
    assert status == 200, text
    return text.decode()


@pytest.mark.parametrize("stream", [False, True])
async def test_one_that_failed_is_answered_anew(gateway: Gateway, worker: ScriptedWorker, stream: bool) -> None:
    body = unstored(stream=stream)
    asking = asyncio.create_task(post(gateway, RESPONSES, body))
    await (await worker.take()).fail(UnavailableError("The engine is away.", retry_after_seconds=1))
    assert (await asking)[0] == 503
    assert "anew" in await answered_anew(gateway, worker, RESPONSES, body)


async def test_one_whose_reader_left_is_answered_anew_under_its_id(gateway: Gateway, worker: ScriptedWorker) -> None:
    body = unstored(stream=True)

    async def opened() -> ClientResponse:
        return await gateway.client.post(RESPONSES, json=body, headers={"Idempotency-Key": "k"})

    opening = asyncio.create_task(opened())
    job = await worker.take()
    await job.begin()
    await job.say("half")
    first = await opening
    created = json.loads((await first.content.readuntil(b"\n\n")).split(b"data: ", 1)[1])
    first.close()
    await job.until_cancelled()
    await until_settled(gateway)
    events = parse_events(await answered_anew(gateway, worker, RESPONSES, body))
    _, completed = events[-1]
    assert completed["response"]["id"] == created["response"]["id"]
    assert completed["response"]["output"][0]["content"][0]["text"] == "anew"


@pytest.mark.parametrize(("path", "body"), [(RESPONSES, unstored()), (f"{RESPONSES}/compact", compaction())])
async def test_one_whose_client_left_is_stopped(
    gateway: Gateway, worker: ScriptedWorker, path: str, body: dict[str, Any]
) -> None:
    asking = asyncio.create_task(post(gateway, path, body))
    job = await worker.take()
    asking.cancel()
    await job.until_cancelled()
    await until_settled(gateway)
    await answered_anew(gateway, worker, path, body)
