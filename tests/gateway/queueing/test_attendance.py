"""A gateway that is killed takes the answers with it that nobody else can hear; runs and kept chats go on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from gateway.queueing import jobs as jobs_module
from jan import keys
from jan.queue.attendance import Unattended
from jan.queue.jobs import JobQueue
from jan.queue.leases import LEASE_SECONDS, LeaseKind, LeaseState
from jan.queue.scripts import Scripts
from tests.fixtures.gateway import MODEL_ID, Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.stack import free_port
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker, TakenByTest

CHAT = "/v1/chat/completions"
GATEWAYS = keys.leases(LeaseKind.GATEWAY)


class Watch:
    """An engine host's look at the gateways, by a clock that the test moves."""

    def __init__(self, redis: Redis) -> None:
        self.now = 0.0
        scripts = Scripts.register(redis)
        self._unattended = Unattended(redis, scripts, JobQueue(redis, scripts), monotonic=lambda: self.now)

    async def look(self) -> list[str]:
        """Look once, half a lease time after the last look."""
        self.now += LEASE_SECONDS / 2
        return await self._unattended.end()


@asynccontextmanager
async def gateway_process(
    storage: StorageServer, redis_server: RedisServer
) -> AsyncIterator[tuple[Process, aiohttp.ClientSession]]:
    """A gateway that can be killed, and a client of it."""
    port = free_port()
    environment = os.environ | {
        "JANROOT_RUN_DIR": str(redis_server.folder),
        "JANROOT_REDIS_URL": redis_server.url,
        "JANROOT_STORAGE_ADDR": storage.address,
        "JANROOT_PORT": str(port),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "gateway", env=environment, stderr=DEVNULL)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            while not await _answers(client):
                assert process.returncode is None
            yield process, client
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _answers(client: aiohttp.ClientSession) -> bool:
    try:
        async with client.get("/healthz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL_ID, "messages": [{"role": "user", "content": "Hi"}], **fields}


async def asked(client: aiohttp.ClientSession, worker: ScriptedWorker, path: str, body: Any) -> TakenByTest:
    """Ask, and have a worker begin to answer; the client still listens."""
    asking = asyncio.create_task(client.post(path, json=body))
    job = await worker.take()
    if job.job.stream:
        await job.begin()
        await job.say("half")
        await asking
    else:
        asking.add_done_callback(lambda task: task.exception())
    return job


async def test_what_a_killed_gateways_clients_alone_could_hear_is_cancelled(
    storage_server: StorageServer, redis_server: RedisServer, redis: Redis, worker: ScriptedWorker
) -> None:
    await asyncio.to_thread(write_model, storage_server.janroot)
    watch = Watch(redis)
    async with gateway_process(storage_server, redis_server) as (process, client):
        streamed = await asked(client, worker, CHAT, chat(stream=True))
        whole = await asked(client, worker, CHAT, chat())
        kept = await asked(client, worker, CHAT, chat(stream=True, store=True))
        run = await asked(client, worker, "/v1/threads/runs", {"assistant_id": "jan", "stream": True})
        process.send_signal(signal.SIGKILL)
        await process.wait()
        for _ in range(2):  # not before the lease time is over
            assert await watch.look() == []
        assert sorted(await watch.look()) == sorted([streamed.job.id, whole.job.id])
    assert [await job.state() for job in (streamed, whole)] == [LeaseState.CANCELLED, LeaseState.CANCELLED]
    assert [await job.state() for job in (kept, run)] == [LeaseState.HELD, LeaseState.HELD]
    assert await redis.hlen(GATEWAYS) == 0
    assert await watch.look() == []


async def test_the_chats_of_a_gateway_that_lives_go_on(gateway: Gateway, redis: Redis, worker: ScriptedWorker) -> None:
    watch = Watch(redis)
    asking = asyncio.create_task(gateway.client.post(CHAT, json=chat()))
    job = await worker.take()
    [token] = await redis.hkeys(GATEWAYS)
    for beat in range(4):
        # As the next beat does; the gateway's own come when they come.
        await redis.hset(GATEWAYS, token, f"later {beat}")
        assert await watch.look() == []
    assert await job.state() is LeaseState.HELD
    await job.answer_whole("heard")
    async with await asking as response:
        assert response.status == 200


async def test_a_gateway_that_stops_says_so(
    storage_server: StorageServer, redis_server: RedisServer, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "RENEW_SECONDS", 0.01)
    async with running_gateway(storage_server, redis_server):
        [before] = await redis.hvals(GATEWAYS)
        while [before] == await redis.hvals(GATEWAYS):
            pass
        assert 0 < await redis.ttl(GATEWAYS) <= keys.IDLE_TTL_SECONDS
    assert await redis.hlen(GATEWAYS) == 0
