"""The class that a run asks for: by header or tier, kept with the run, and the same for whoever takes it over."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.runs import executor as executor_module
from jan.inference.v1 import jobs_pb2
from tests.fixtures.gateway import Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.routes.test_runs import new_thread, until_ended

HEADER = "X-Janroot-Priority"


async def start(gateway: Gateway, path: str, body: dict[str, Any], headers: dict[str, str]) -> Any:
    async with gateway.client.post(path, json={"assistant_id": "jan", **body}, headers=headers) as response:
        run = await response.json()
        assert response.status == 200, run
        return run


@pytest.mark.parametrize(
    ("wish", "priority"),
    [
        (({}, {}), jobs_pb2.PRIORITY_INTERACTIVE),
        (({HEADER: "normal"}, {}), jobs_pb2.PRIORITY_NORMAL),
        (({}, {"service_tier": "flex"}), jobs_pb2.PRIORITY_BATCH),
        (({HEADER: "batch"}, {"service_tier": "priority"}), jobs_pb2.PRIORITY_BATCH),
    ],
)
@pytest.mark.parametrize("path", ["/v1/threads/{}/runs", "/v1/threads/runs"])
async def test_a_run_is_in_the_class_that_it_asks_for(
    gateway: Gateway, worker: ScriptedWorker, path: str, wish: tuple[dict[str, str], dict[str, Any]], priority: int
) -> None:
    headers, body = wish
    run = await start(gateway, path.format(await new_thread(gateway, "Hi")), body, headers)
    assert (await worker.answer()).job.priority == priority
    await until_ended(gateway, run)


async def test_an_unknown_class_is_refused_and_leaves_nothing(gateway: Gateway) -> None:
    thread_id = await new_thread(gateway, "Hi")
    for path in ("/v1/threads/runs", f"/v1/threads/{thread_id}/runs"):
        for headers, body, param in (({HEADER: "now!"}, {}, HEADER), ({}, {"service_tier": "gold"}, "service_tier")):
            asked = {"assistant_id": "jan", **body}
            async with gateway.client.post(path, json=asked, headers=headers) as response:
                assert response.status == 400
                assert (await response.json())["error"]["param"] == param
    assert [thread["id"] for thread in (await gateway.json("GET", "/v1/threads"))["data"]] == [thread_id]
    assert (await gateway.json("GET", f"/v1/threads/{thread_id}/runs"))["data"] == []


async def test_a_gateway_that_takes_a_run_over_keeps_its_class(
    storage_server: StorageServer,
    redis_server: RedisServer,
    redis: Redis,
    worker: ScriptedWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(executor_module, "RECONCILE_SECONDS", 0.05)
    write_model(storage_server.janroot)
    async with running_gateway(storage_server, redis_server) as first:
        run = await start(first, f"/v1/threads/{await new_thread(first, 'Hi')}/runs", {}, {HEADER: "batch"})
    await redis.flushall()  # the job too: the second gateway knows the run from its record alone
    async with running_gateway(storage_server, redis_server) as second:
        assert (await worker.answer()).job.priority == jobs_pb2.PRIORITY_BATCH
        assert (await until_ended(second, run))["status"] == "completed"
