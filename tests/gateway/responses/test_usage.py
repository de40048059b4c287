"""What an answer cost in thoughts, as far as its engine says: in responses, in batches of them, and kept with runs."""

from __future__ import annotations

import asyncio

import pytest
from openai import AsyncOpenAI

from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.batches.batch_files import line, lines, new_batch, until


async def answer(worker: ScriptedWorker, reasoning_tokens: int | None) -> None:
    job = await worker.take()
    await job.begin()
    await job.say("Hi")
    await job.finish(reasoning_tokens=reasoning_tokens)


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("told", [3, 0, None])
async def test_of_a_response(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI, store: bool, told: int | None
) -> None:
    asking = asyncio.create_task(openai_client.responses.create(model=MODEL_ID, input="Hi", store=store))
    await answer(worker, told)
    response = await asking
    assert response.usage is not None
    assert response.usage.output_tokens_details.reasoning_tokens == (told or 0)
    if store:
        read = await openai_client.responses.retrieve(response.id)
        assert read.usage == response.usage


async def test_of_a_batch(gateway: Gateway, worker: ScriptedWorker) -> None:
    requests = [line(name, {"model": MODEL_ID, "input": "Hi"}, url="/v1/responses") for name in "ab"]
    batch = await new_batch(gateway, lines(requests), endpoint="/v1/responses")
    for _ in requests:
        await answer(worker, 2)
    ended = await until(gateway, batch)
    assert ended["usage"]["output_tokens_details"] == {"reasoning_tokens": 4}
