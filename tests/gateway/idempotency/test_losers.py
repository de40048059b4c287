"""A keyed request that went to another gateway: whoever began it stops, and its client hears what the other answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from gateway.keys import RECORDED
from jan.queue.leases import LeaseKind, LeaseState, LeaseWatch
from tests.fixtures.gateway import MODEL_ID, Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker, TakenByTest

CHAT = {"model": MODEL_ID, "messages": [{"role": "user", "content": "Hi"}]}
KEY = {"Idempotency-Key": "k"}


async def nothing() -> None:
    return None


Answer = tuple[int, str, bool]


async def chat(gateway: Gateway, **fields: Any) -> Answer:
    """Status, what was said or the error's code, and whether it was said before. A stream's events are numbered."""
    headers = KEY | {"X-Janroot-Event-Ids": "1"}
    async with gateway.client.post("/v1/chat/completions", json=CHAT | fields, headers=headers) as response:
        data = await response.read()
        if response.content_type == "text/event-stream":
            said = data.decode()
        elif response.status == 200:
            said = json.loads(data)["choices"][0]["message"]["content"]
        else:
            said = json.loads(data)["error"]["code"]
        return response.status, said, "Idempotency-Replayed" in response.headers


@dataclass(frozen=True)
class Pair:
    """Two gateways. The first is taken for gone by the second as soon as that is asked; it notices when it renews."""

    first: Gateway
    second: Gateway
    worker: ScriptedWorker
    renew: Callable[[], Any]

    async def taken_over(self, **fields: Any) -> tuple[asyncio.Task[Answer], TakenByTest]:
        """Send the request again, to the second one, until that begins it; the request, and its job."""

        async def repeat() -> Answer:
            while (answer := await chat(self.second, **fields))[0] == 409:
                await self.second.app[RECORDED].look()
            return answer

        repeating = asyncio.create_task(repeat())
        return repeating, await self.worker.take()


@pytest.fixture
async def pair(
    storage_server: StorageServer,
    redis_server: RedisServer,
    redis: Redis,
    worker: ScriptedWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Pair]:
    await asyncio.to_thread(write_model, storage_server.janroot)
    async with (
        running_gateway(storage_server, redis_server) as first,
        running_gateway(storage_server, redis_server) as second,
    ):
        renew: Callable[[], Any] = first.app[RECORDED].renew
        monkeypatch.setattr(first.app[RECORDED], "renew", nothing)
        watch = LeaseWatch(redis, LeaseKind.GATEWAY, lease_seconds=0)
        monkeypatch.setattr(second.app[RECORDED], "_gateways", watch)
        yield Pair(first, second, worker, renew)


async def test_whoever_lost_a_request_stops_and_sends_its_client_to_the_other(pair: Pair) -> None:
    asking = asyncio.create_task(chat(pair.first))
    job = await pair.worker.take()
    repeating, other = await pair.taken_over()
    assert await job.state() is LeaseState.HELD
    await pair.renew()
    assert await asking == (409, "idempotency_key_in_use", False)
    await job.until_cancelled()
    await other.answer_whole("once")
    assert await repeating == (200, "once", False)
    assert await chat(pair.first) == (200, "once", True)


async def test_its_client_hears_the_others_answer_when_that_is_there(pair: Pair) -> None:
    asking = asyncio.create_task(chat(pair.first))
    job = await pair.worker.take()
    repeating, other = await pair.taken_over()
    await other.answer_whole("once")
    await repeating
    await pair.renew()
    assert await asking == (200, "once", True)
    await job.until_cancelled()


@pytest.mark.parametrize("is_over", [True, False])
async def test_an_answer_or_end_that_comes_too_late_is_told_nobody(pair: Pair, is_over: bool) -> None:
    """As after a pause: its jobs were cancelled meanwhile, or have answered, and it has not renewed since."""
    asking = asyncio.create_task(chat(pair.first))
    job = await pair.worker.take()
    repeating, other = await pair.taken_over()
    await other.answer_whole("once")
    await repeating
    if is_over:
        await job.answer_whole("twice")
    else:
        await pair.first.client.delete(f"/v1/queue/{job.job.id}")
        await job.until_cancelled()
    assert await asking == (200, "once", True)


async def test_a_stream_that_was_begun_breaks_off(pair: Pair) -> None:
    async with pair.first.client.post("/v1/chat/completions", json=CHAT | {"stream": True}, headers=KEY) as stream:
        job = await pair.worker.take()
        await job.begin()
        assert await stream.content.readline()
        repeating, other = await pair.taken_over(stream=True)
        await pair.renew()
        with pytest.raises(aiohttp.ClientError):
            await stream.read()
    await job.until_cancelled()
    repeating.cancel()
    await other.until_cancelled()


async def test_a_stream_that_could_be_taken_up_is_not_told_and_its_job_ends(pair: Pair) -> None:
    """Its job would outlast its reader; but no repetition of its request finds this one."""
    asking = asyncio.create_task(chat(pair.first, stream=True))
    job = await pair.worker.take()
    repeating, other = await pair.taken_over(stream=True)
    await job.begin()
    assert await asking == (409, "idempotency_key_in_use", False)
    await job.until_cancelled()
    await other.begin()
    await other.say("once")
    await other.finish()
    status, said, _ = await repeating
    assert (status, "once" in said) == (200, True)
