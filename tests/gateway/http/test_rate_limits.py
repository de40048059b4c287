"""What an answer says of the room that is left, and that OpenAI's client does what a refusal tells it."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam
from redis.asyncio import Redis

from gateway.http.rate_limits import rate_limit_headers
from jan.errors import UnavailableError
from jan.queue.bounds import Room
from tests.fixtures.gateway import MODEL_ID, Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.http.conftest import Waits, client_of
from tests.gateway.queueing.test_back_pressure import ask, until_waiting
from tests.gateway.routes.test_runs import new_thread, until_ended

LIMITS = "x-ratelimit-"
MESSAGE: ChatCompletionUserMessageParam = {"role": "user", "content": "Hi"}


def told(headers: Any) -> dict[str, str]:
    """The headers of limits in an answer."""
    return {name.lower().removeprefix(LIMITS): value for name, value in headers.items() if LIMITS in name.lower()}


@pytest.mark.parametrize(("seconds", "duration"), [(1, "1s"), (59, "59s"), (60, "1m0s"), (366, "6m6s")])
def test_a_time_is_written_as_openai_writes_it(seconds: int, duration: str) -> None:
    assert told(rate_limit_headers(Room(9, 4, seconds))) == {
        "limit-requests": "9",
        "remaining-requests": "4",
        "reset-requests": duration,
    }


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", {"messages": [MESSAGE]}),
        ("chat/completions", {"messages": [MESSAGE], "stream": True}),
        ("chat/completions", {"messages": [MESSAGE], "stream": True, "store": True}),
        ("completions", {"prompt": "Hi"}),
        ("embeddings", {"input": "Hi"}),
    ],
)
async def test_an_answer_says_how_many_more_requests_may_wait(
    gateway: Gateway, worker: ScriptedWorker, path: str, body: dict[str, Any]
) -> None:
    answering = asyncio.create_task(worker.answer())
    async with gateway.client.post(f"/v1/{path}", json={"model": MODEL_ID, **body}) as response:
        await response.read()
        assert response.status == 200
        limits = {"limit-requests": "512", "remaining-requests": "511", "reset-requests": "1s"}
        assert told(response.headers) == limits
    await answering


@pytest.mark.parametrize("stream", [False, True])
async def test_a_run_says_it_too(gateway: Gateway, worker: ScriptedWorker, stream: bool) -> None:
    thread_id = await new_thread(gateway, "Hi")
    answering = asyncio.create_task(worker.answer())
    body = {"assistant_id": "jan", "stream": stream}
    async with gateway.client.post(f"/v1/threads/{thread_id}/runs", json=body) as response:
        assert told(response.headers)["remaining-requests"] == "511"
        said = await response.read() if stream else await response.json()
    if not stream:
        await until_ended(gateway, said)
    await answering


async def test_a_full_queue_says_how_full_and_an_answer_of_another_route_nothing(
    storage_server: StorageServer, redis_server: RedisServer, redis: Redis, worker: ScriptedWorker
) -> None:
    write_model(storage_server.janroot)
    limits = {"JANROOT_MAX_QUEUED_PER_PERSON": "1", "JANROOT_MAX_QUEUED": "2"}
    async with running_gateway(storage_server, redis_server, **limits) as gateway:
        waiting = [asyncio.create_task(ask(gateway, "ann"))]
        await until_waiting(redis, 1)
        status, _, headers = await ask(gateway, "ann")
        nothing_left = {"limit-requests": "1", "remaining-requests": "0", "reset-requests": "5s"}
        assert (status, headers["Retry-After"], told(headers)) == (429, "5", nothing_left)
        waiting.append(asyncio.create_task(ask(gateway, "bob")))
        await until_waiting(redis, 2)
        assert told((await ask(gateway, "cid"))[2]) == nothing_left | {"limit-requests": "2"}
        async with gateway.client.get("/v1/models") as response:
            assert told(response.headers) == {}
        for _ in waiting:
            await worker.answer()
        assert [told((await one)[2])["remaining-requests"] for one in waiting] == ["0", "0"]


async def test_a_key_used_again_has_no_old_limits(gateway: Gateway, worker: ScriptedWorker) -> None:
    answering = asyncio.create_task(worker.answer())
    for replayed in (None, "true"):
        body = {"model": MODEL_ID, "messages": [MESSAGE]}
        async with gateway.client.post(
            "/v1/chat/completions", json=body, headers={"Idempotency-Key": "once"}
        ) as response:
            assert response.status == 200
            assert response.headers.get("Idempotency-Replayed") == replayed
            assert bool(told(response.headers)) == (replayed is None)
    await answering


async def test_openais_client_comes_again_to_a_full_queue_when_it_was_told_to(
    storage_server: StorageServer,
    redis_server: RedisServer,
    redis: Redis,
    worker: ScriptedWorker,
    waits: Waits,
) -> None:
    write_model(storage_server.janroot)
    async with (
        running_gateway(storage_server, redis_server, JANROOT_MAX_QUEUED_PER_PERSON="1") as gateway,
        client_of(gateway) as client,
        client_of(gateway, max_retries=0) as impatient,
        asyncio.TaskGroup() as tasks,
    ):
        before = tasks.create_task(ask(gateway, "ann"))
        await until_waiting(redis, 1)
        with pytest.raises(openai.RateLimitError) as refused:
            await impatient.chat.completions.create(model=MODEL_ID, messages=[MESSAGE])
        assert (refused.value.code, refused.value.type) == ("rate_limit_exceeded", "rate_limit_error")
        assert refused.value.response.headers["x-ratelimit-remaining-requests"] == "0"

        async def make_room() -> None:
            await worker.answer()
            await before
            tasks.create_task(worker.answer(["At ", "last"]))

        waited = waits(make_room)
        answer = await client.chat.completions.create(model=MODEL_ID, messages=[MESSAGE])
        assert answer.choices[0].message.content == "At last"
        assert waited == [float(refused.value.response.headers["Retry-After"])]


async def test_openais_client_comes_again_to_a_model_that_is_away_when_it_was_told_to(
    gateway: Gateway, worker: ScriptedWorker, waits: Waits
) -> None:
    away = UnavailableError("The engine starts.", code="engine_unavailable", retry_after_seconds=7)

    async def fail() -> None:
        await (await worker.take()).fail(away)

    async with (
        client_of(gateway) as client,
        client_of(gateway, max_retries=0) as impatient,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(fail())
        with pytest.raises(openai.InternalServerError) as refused:
            await impatient.chat.completions.create(model=MODEL_ID, messages=[MESSAGE])
        assert (refused.value.status_code, refused.value.code) == (503, "engine_unavailable")

        async def come_back() -> None:
            tasks.create_task(worker.answer(["Here ", "again"]))

        waited = waits(come_back)
        tasks.create_task(fail())
        stream = await client.chat.completions.create(model=MODEL_ID, messages=[MESSAGE], stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "Here again"
        assert waited == [7.0]
