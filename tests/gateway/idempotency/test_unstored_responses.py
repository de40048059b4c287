"""An `Idempotency-Key` on a response with `store: false`, which makes nothing but its answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jan.errors import UnavailableError
from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.idempotency.test_requests import post

RESPONSES = "/v1/responses"


def unstored(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL_ID, "input": "Hi", "store": False, **fields}


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
