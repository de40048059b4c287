"""A full queue says so before anything is written, to one person or to all, and takes more when there is room."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis

from tests.fixtures.gateway import MODEL_ID, Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.routes.test_runs import new_thread

CHAT = "/v1/chat/completions"


async def ask(gateway: Gateway, who: str) -> tuple[int, Any, dict[str, str]]:
    body = {"model": MODEL_ID, "messages": [{"role": "user", "content": "Hi"}]}
    async with gateway.client.post(CHAT, json=body, headers={"Authorization": f"Bearer {who}"}) as response:
        return response.status, await response.json(), dict(response.headers)


async def until_waiting(redis: Redis, count: int) -> None:
    while int(await redis.get("jan:queue:waiting") or 0) != count:
        await redis.ping()


async def test_one_persons_requests_are_bounded_and_all_are(
    storage_server: StorageServer, redis_server: RedisServer, redis: Redis, worker: ScriptedWorker
) -> None:
    write_model(storage_server.janroot)
    limits = {"JANROOT_MAX_QUEUED_PER_PERSON": "2", "JANROOT_MAX_QUEUED": "3"}
    async with running_gateway(storage_server, redis_server, **limits) as gateway:
        waiting = [asyncio.create_task(ask(gateway, who)) for who in ("ann", "ann")]
        await until_waiting(redis, 2)
        status, body, headers = await ask(gateway, "ann")
        assert (status, body["error"]["type"], body["error"]["code"]) == (
            429,
            "rate_limit_error",
            "rate_limit_exceeded",
        )
        assert 1 <= int(headers["Retry-After"]) < 60
        assert int(headers["retry-after-ms"]) == 1000 * int(headers["Retry-After"])
        waiting.append(asyncio.create_task(ask(gateway, "bob")))
        await until_waiting(redis, 3)
        assert (await ask(gateway, "cid"))[1]["error"]["code"] == "queue_full"
        for _ in range(3):
            await worker.answer()
        assert [(await one)[0] for one in waiting] == [200] * 3
        later = asyncio.create_task(ask(gateway, "ann"))
        await worker.answer()
        assert (await later)[0] == 200


async def test_a_run_is_refused_before_anything_is_written(
    storage_server: StorageServer, redis_server: RedisServer, redis: Redis
) -> None:
    write_model(storage_server.janroot)
    async with running_gateway(storage_server, redis_server, JANROOT_MAX_QUEUED="0") as gateway:
        thread_id = await new_thread(gateway, "Hi")
        run = {"assistant_id": "jan", "additional_messages": [{"role": "user", "content": "more"}]}
        path = f"/v1/threads/{thread_id}"
        await gateway.json("POST", f"{path}/runs", run, status=429)
        await gateway.json("POST", "/v1/threads/runs", {"assistant_id": "jan"}, status=429)
        assert (await gateway.json("GET", f"{path}/runs"))["data"] == []
        assert len((await gateway.json("GET", f"{path}/messages"))["data"]) == 1
        assert len((await gateway.json("GET", "/v1/threads"))["data"]) == 1
