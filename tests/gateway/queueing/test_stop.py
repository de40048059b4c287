"""Stop means stop: at every stage a client that leaves, or a cancel, frees the engine, and nothing is left behind.

The gateway, the queue and the worker are the real ones; the engine counts what it has in hand.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from inference_service.engines.engine import Connection
from inference_service.engines.openai import OpenAiEngine
from jan.queue.follower import LogFollower
from tests.fixtures.gateway import MODEL_ID, Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.gateway.routes.test_runs import new_thread, start, until_ended
from tests.inference_service.bench import Bench, launcher
from tests.inference_service.scripted_engine import ScriptedEngine

CHAT = "/v1/chat/completions"
STAGES = ["queued", "loading", "before the first token", "in the middle"]
ENDLESS = 1_000_000


@dataclass
class House:
    """A gateway and a worker for one model that answers one request at a time."""

    gateway: Gateway
    engine: ScriptedEngine
    redis: Redis
    load: asyncio.Event

    def ask(self, **fields: Any) -> asyncio.Task[Any]:
        body = {"model": MODEL_ID, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": ENDLESS, **fields}
        return asyncio.create_task(self.gateway.client.post(CHAT, json=body))

    async def job_states(self) -> list[str]:
        """The states of all jobs that Redis knows."""
        keys = [key async for key in self.redis.scan_iter("jan:job:*")]
        found = [cast(dict[bytes, bytes], await self.redis.hgetall(key)) for key in keys]
        return [fields[b"state"].decode() for fields in found if fields]

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait until something is so."""
        while not await condition():
            await self.redis.ping()

    async def until_jobs(self, *states: str) -> None:
        async def reached() -> bool:
            return sorted(await self.job_states()) == sorted(states)

        await self.until(reached)

    async def reach(self, stage: str) -> list[asyncio.Task[Any]]:
        """Prepare a stage for the next request; what is asked meanwhile, to be ended by the test."""
        self.engine.hold(after_tokens=2 if stage == "in the middle" else 0)
        if stage == "loading":
            self.load.clear()
        if stage != "queued":
            return []
        first = self.ask()
        await self.engine.until_active(1)
        return [first]


@pytest.fixture
async def house(
    storage_server: StorageServer,
    redis_server: RedisServer,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> AsyncIterator[House]:
    load = asyncio.Event()
    load.set()
    begin = OpenAiEngine.start

    async def start_when_let(self: OpenAiEngine) -> Connection:
        await load.wait()
        return await begin(self)

    monkeypatch.setattr(OpenAiEngine, "start", start_when_let)
    with tempfile.TemporaryDirectory(prefix="jan-run-") as run_dir:
        async with ScriptedEngine().serving() as engine:
            write_model(storage_server.janroot, sources=[{"url": engine.url}], settings={"n_parallel": 1})
            bench = Bench(redis, LogFollower(redis), launcher(tmp_path, Path(run_dir)))
            async with bench.worker(drain_seconds=0), running_gateway(storage_server, redis_server) as gateway:
                yield House(gateway, engine, redis, load)
                engine.let_go()
                load.set()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("stage", STAGES)
async def test_a_client_that_leaves_frees_the_engine(house: House, stage: str, stream: bool) -> None:
    others = await house.reach(stage)
    asking = house.ask(stream=stream)
    match stage:
        case "queued":
            await house.until_jobs("running", "queued")
        case "loading":
            await house.until_jobs("running")
        case _:
            await house.engine.until_active(1)
    if stage == "in the middle" and stream:
        response = await asking
        assert b"w1 " in await response.content.readuntil(b"w1 ")
        response.close()
    else:
        asking.cancel()
    await house.until_jobs(*["ended", *["running" for _ in others]])
    await house.engine.until_active(len(others))
    for other in others:
        other.cancel()
        await house.until_jobs("ended", "ended")
    house.engine.let_go()
    house.load.set()
    async with await house.ask(max_tokens=3) as answer:
        assert answer.status == 200
    assert len(house.engine.requests) == len(others) + 1 + (stage not in ("queued", "loading"))


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_in_the_middle_of_a_tool_call_frees_the_engine(house: House, stream: bool) -> None:
    house.engine.hold(after_tokens=1)
    function = {"name": "look", "parameters": {"type": "object", "properties": {}}}
    asking = house.ask(stream=stream, tools=[{"type": "function", "function": function}], tool_choice="required")
    await house.engine.until_active(1)
    if stream:
        response = await asking
        assert b"tool_calls" in await response.content.readuntil(b"tool_calls")
        response.close()
    else:
        asking.cancel()
    await house.until_jobs("ended")
    await house.engine.until_active(0)


@pytest.mark.parametrize("stage", STAGES)
async def test_a_cancelled_run_frees_the_engine_and_ends_as_cancelled(house: House, stage: str) -> None:
    others = await house.reach(stage)
    thread_id = await new_thread(house.gateway, "Hi")
    run = await start(house.gateway, thread_id)
    match stage:
        case "queued":
            await house.until_jobs("running", "queued")
        case "loading":
            await house.until_jobs("running")
        case _:
            await house.engine.until_active(1)
    path = f"/v1/threads/{thread_id}/runs/{run['id']}"
    assert (await house.gateway.json("POST", f"{path}/cancel"))["status"] == "cancelling"
    await house.engine.until_active(len(others))
    ended = await until_ended(house.gateway, run)
    assert (ended["status"], ended["cancelled_at"] is not None) == ("cancelled", True)
    for other in others:
        other.cancel()
    await house.until_jobs(*["ended" for _ in [run, *others]])
    await house.gateway.json("POST", f"/v1/threads/{thread_id}/messages", {"role": "user", "content": "again"})
