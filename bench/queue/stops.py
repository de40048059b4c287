"""`python -m bench.queue.stops`: how long after a client has left, or a run was cancelled, its place is free again.

The whole product as real processes. The engine is scripted and lives here, so that the moment in which it loses a
request is seen at once; loading is measured on the demo model, which llama.cpp loads. What waits or loads holds no slot
of an engine: it is free when its job has ended in Redis.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import aiohttp
from redis.asyncio import Redis

from bench.storage.measures import tell
from bench.storage.service import whole_product
from jan.redis import connect
from tests.fixtures.gateway import MODEL_ID, write_model
from tests.fixtures.stack import MODEL as DEMO
from tests.inference_service.scripted_engine import ScriptedEngine

STAGES = ("queued", "loading", "before the first token", "in the middle", "in a tool call", "whole answer")
ENDLESS = 1_000_000
# Pieces after which the engine says nothing more; those of a call are two.
_SAID = {"in the middle": 2, "in a tool call": 1}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


@dataclass(frozen=True, slots=True)
class House:
    """The running product, its engine, and a client."""

    client: aiohttp.ClientSession
    engine: ScriptedEngine
    redis: Redis

    def ask(self, model: str = MODEL_ID, **fields: Any) -> asyncio.Task[aiohttp.ClientResponse]:
        """Ask a chat that never ends by itself."""
        messages = [{"role": "user", "content": "Hi"}]
        body = {"model": model, "messages": messages, "stream": True, "max_tokens": ENDLESS, **fields}
        if model == DEMO:
            del body["max_tokens"]
        return asyncio.create_task(self.client.post("/v1/chat/completions", json=body))

    async def states(self) -> dict[str, str]:
        """Every job that Redis knows, and its state."""
        keys = [key async for key in self.redis.scan_iter("jan:job:*")]
        found = [cast(dict[bytes, bytes], await self.redis.hgetall(key)) for key in keys]
        return {key.decode(): job[b"state"].decode() for key, job in zip(keys, found, strict=True) if job}

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> float:
        """Wait until something is so, and return when that was."""
        while not await condition():  # noqa: ASYNC110  Redis tells nobody
            await asyncio.sleep(0.001)
        return time.perf_counter()

    async def until_state(self, *wanted: str) -> float:
        """Wait until the jobs are in these states."""

        async def reached() -> bool:
            return sorted((await self.states()).values()) == sorted(wanted)

        return await self.until(reached)


async def leave(asking: asyncio.Task[aiohttp.ClientResponse]) -> float:
    """The client goes; returns when it went."""
    began = time.perf_counter()
    if asking.done():
        asking.result().close()
    else:
        asking.cancel()
    await asyncio.sleep(0)
    return began


async def once(house: House, stage: str) -> float:
    """Seconds from a client's leaving until its place is free."""
    await house.redis.flushall()
    house.engine.hold(after_tokens=_SAID.get(stage, 0))
    match stage:
        case "queued":
            first = house.ask()
            await house.engine.until_active(1)
            asking = house.ask()
            await house.until_state("queued", "running")
            left = await leave(asking)
            free = await house.until_state("ended", "running")
            await leave(first)
            await house.engine.until_active(0)
        case "loading":
            async with house.client.post(f"/v1/models/{DEMO}/stop") as stopped:
                stopped.raise_for_status()
            asking = house.ask(DEMO)
            await house.until_state("running")
            left = await leave(asking)
            free = await house.until_state("ended")
        case _:
            forced: dict[str, Any] = {"tools": [TOOL], "tool_choice": "required"} if stage == "in a tool call" else {}
            asking = house.ask(stream=stage != "whole answer", **forced)
            await house.engine.until_active(1)
            if stage in _SAID:
                await (await asking).content.readuntil(b"\n\n")
            left = await leave(asking)
            await house.engine.until_active(0)
            free = time.perf_counter()
    return free - left


async def cancel_run(house: House, _: str) -> float:
    """Seconds from the call that cancels a run in mid-answer until the engine is free."""
    await house.redis.flushall()
    house.engine.hold(after_tokens=2)
    body = {"assistant_id": "jan", "model": MODEL_ID, "thread": {"messages": [{"role": "user", "content": "Hi"}]}}
    async with house.client.post("/v1/threads/runs", json=body) as created:
        run = await created.json()
    await house.engine.until_active(1)
    path = f"/v1/threads/{run['thread_id']}/runs/{run['id']}"
    began = time.perf_counter()
    async with house.client.post(f"{path}/cancel") as cancelled:
        cancelled.raise_for_status()
    await house.engine.until_active(0)
    return time.perf_counter() - began


@asynccontextmanager
async def running() -> AsyncIterator[House]:
    """Everything, with one slot."""
    with whole_product() as stack:
        async with (
            ScriptedEngine().serving() as engine,
            connect(stack.redis.url) as redis,
            aiohttp.ClientSession(stack.url) as client,
        ):
            place = Path(stack.janroot)
            await asyncio.to_thread(write_model, place, sources=[{"url": engine.url}], settings={"n_parallel": 1})
            yield House(client, engine, redis)
            engine.let_go()


async def measure(rounds: int) -> None:
    """Each stage so often, and a table."""
    rows = []
    async with running() as house:
        ways = [(f"left {stage}", once, stage) for stage in STAGES] + [("run cancelled in the middle", cancel_run, "")]
        for name, way, stage in ways:
            await way(house, stage)  # the first one loads the model, connects and so on
            took = sorted([1000 * await way(house, stage) for _ in range(rounds)])
            p99 = statistics.quantiles(took, n=100, method="inclusive")[98]
            rows.append((name, f"{statistics.median(took):.1f}", f"{p99:.1f}", f"{took[-1]:.1f}"))
    tell(f"Stop, {rounds} a stage, in ms", ("what", "median", "p99", "longest"), rows)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.queue.stops")
    parser.add_argument("--rounds", type=int, default=100)
    asked = parser.parse_args()
    print(f"Load before: {os.getloadavg()[0]:.1f}")
    asyncio.run(measure(asked.rounds))


if __name__ == "__main__":
    main()
