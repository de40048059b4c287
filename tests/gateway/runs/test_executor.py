"""Runs survive their gateway: taken over by another, without an answer or an event twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.keys import RUNS
from gateway.runs import executor as executor_module
from tests.fixtures.gateway import Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.routes.test_runs import new_thread, parse_events, start, texts, until_ended


@pytest.fixture(autouse=True)
def quick_reconciler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_module, "RECONCILE_SECONDS", 0.05)
    monkeypatch.setattr(executor_module, "RENEW_SECONDS", 0.02)


@pytest.fixture
async def two_gateways(
    storage_server: StorageServer, redis_server: RedisServer, redis: Redis
) -> AsyncIterator[tuple[Gateway, Gateway]]:
    write_model(storage_server.janroot)
    async with (
        running_gateway(storage_server, redis_server) as first,
        running_gateway(storage_server, redis_server) as second,
    ):
        yield first, second


async def test_a_gateway_that_stops_hands_its_runs_over(
    storage_server: StorageServer, redis_server: RedisServer, redis: Redis, worker: ScriptedWorker
) -> None:
    write_model(storage_server.janroot)
    async with running_gateway(storage_server, redis_server) as first:
        thread_id = await new_thread(first, "Hi")
        run = await start(first, thread_id)
        job = await worker.take()
        await job.begin()
        await job.say("first ")
    async with running_gateway(storage_server, redis_server) as second:
        await job.say("second")
        await job.finish()
        assert (await until_ended(second, run))["status"] == "completed"
        assert await texts(second, thread_id) == [("user", "Hi"), ("assistant", "first second")]
        steps = await second.json("GET", f"/v1/threads/{thread_id}/runs/{run['id']}/steps")
        assert len(steps["data"]) == 1


async def test_a_frozen_gateways_run_is_taken_over_and_its_events_stay_in_order(
    two_gateways: tuple[Gateway, Gateway], worker: ScriptedWorker
) -> None:
    first, second = two_gateways
    thread_id = await new_thread(first, "Hi")
    stream = asyncio.create_task(read_stream(first, thread_id))
    job = await worker.take()
    await job.begin()
    await job.say("a", "b")
    freeze(first)
    for each in two_gateways:
        each.app[RUNS]._watch._lease_seconds = 0.2
    await job.say("c")
    await job.finish()
    events = await stream
    deltas = [data["delta"]["content"][0]["text"]["value"] for name, data in events if name == "thread.message.delta"]
    assert deltas == ["a", "b", "c"]
    names = [name for name, _ in events]
    assert len(names) == len(set(names)) + len(deltas) - 1
    assert names[-2:] == ["thread.run.completed", "done"]
    assert await texts(second, thread_id) == [("user", "Hi"), ("assistant", "abc")]


async def test_a_redis_that_forgot_everything_loses_no_run(
    gateway: Gateway, worker: ScriptedWorker, redis: Redis
) -> None:
    thread_id = await new_thread(gateway, "Hi")
    run = await start(gateway, thread_id)
    await worker.take()
    await redis.flushall()
    again = await worker.answer(["anew"])
    assert again.job.id == f"{run['id']}.1"
    assert (await until_ended(gateway, run))["status"] == "completed"
    assert await texts(gateway, thread_id) == [("user", "Hi"), ("assistant", "anew")]


async def test_a_run_that_nobody_answers_expires(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.runs.creation.RUN_LIFETIME", timedelta(seconds=-1))
    thread_id = await new_thread(gateway, "Hi")
    run = await start(gateway, thread_id)
    ended = await until_ended(gateway, run)
    assert ended["status"] == "expired"
    assert await texts(gateway, thread_id) == [("user", "Hi")]


async def test_a_deleted_thread_ends_its_run_quietly(gateway: Gateway, worker: ScriptedWorker) -> None:
    thread_id = await new_thread(gateway, "Hi")
    await start(gateway, thread_id)
    job = await worker.take()
    await gateway.json("DELETE", f"/v1/threads/{thread_id}")
    await job.begin()
    await job.say("to nobody")
    await job.finish()
    await asyncio.gather(*(held.task for held in gateway.app[RUNS]._held.values()))
    assert gateway.app[RUNS]._held == {}


def freeze(gateway: Gateway) -> None:
    """Stop a gateway's executor as a SIGSTOP would: its tasks neither work nor renew nor let go."""
    for held in gateway.app[RUNS]._held.values():
        held.task.cancel()
    gateway.app[RUNS]._held.clear()


async def read_stream(gateway: Gateway, thread_id: str) -> list[tuple[str, Any]]:
    body = {"assistant_id": "jan", "stream": True}
    async with gateway.client.post(f"/v1/threads/{thread_id}/runs", json=body) as response:
        return parse_events(await response.text())
