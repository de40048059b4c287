"""Two gateways, two engine hosts, storage and Redis as real processes, and people who never stop asking them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from redis.exceptions import RedisError

from jan.redis import connect
from jan.rpc import is_serving, open_channel
from tests.fixtures.gateway import MODEL_ID, write_model
from tests.fixtures.redis import server_binary
from tests.fixtures.stack import free_port
from tests.inference_service.scripted_engine import ScriptedEngine
from tests.inference_service.scripted_words import text

ORDER = ("gateway-1", "gateway-2", "inference-1", "inference-2", "storage", "redis")
TOKENS = 60
TOKEN_SECONDS = 0.01
EXIT_SECONDS = 30.0
# As the stock client: two tries more, after what Retry-After says.
RETRIES = 2
_MODULES = {"gateway": "gateway", "inference": "inference_service", "storage": "storage_service"}


class PacedEngine(ScriptedEngine):
    """An engine that takes its time, so that there is always an answer in the middle."""

    async def _pieces(self, body: dict[str, Any]) -> AsyncIterator[str]:
        async for piece in super()._pieces(body):
            await asyncio.sleep(TOKEN_SECONDS)
            yield piece


class Fleet:
    """The processes, by name. Each can be stopped as an operator does and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.janroot = folder / "janroot"
        self.ports = {"gateway-1": free_port(), "gateway-2": free_port()}
        self.processes: dict[str, asyncio.subprocess.Process] = {}

    def url(self, gateway: str) -> str:
        return f"http://127.0.0.1:{self.ports[gateway]}"

    async def start(self, name: str) -> None:
        """Start a process, and return when it serves."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = await asyncio.create_subprocess_exec(
                *self._command(name), env=os.environ | self._environment(name), stdout=log, stderr=log
            )
        await self._until_up(name)

    async def stop(self, name: str) -> float:
        """Ask a process to leave; returns after how many seconds it left, which must be with exit code 0."""
        began = time.monotonic()
        self.processes[name].send_signal(signal.SIGTERM)
        async with asyncio.timeout(EXIT_SECONDS):
            assert await self.processes[name].wait() == 0, self.log(name)
        return time.monotonic() - began

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()[-3000:]

    def _command(self, name: str) -> list[str]:
        if name == "redis":
            socket = f"{self.folder}/redis.sock"
            return [
                *(server_binary(), "--port", "0", "--unixsocket", socket, "--dir", str(self.folder)),
                *("--appendonly", "yes", "--save", ""),
            ]
        return [sys.executable, "-m", _MODULES[name.partition("-")[0]]]

    def _environment(self, name: str) -> dict[str, str]:
        sockets = [f"unix:{self.folder}/inference-{number}/i.sock" for number in (1, 2)]
        return {
            "JANROOT_PATH": str(self.janroot),
            "JANROOT_RUN_DIR": str(self.folder / name),
            "JANROOT_REDIS_URL": f"unix://{self.folder}/redis.sock",
            "JANROOT_STORAGE_ADDR": f"unix:{self.folder}/s.sock",
            "JANROOT_INFERENCE_ADDR": f"unix:{self.folder}/{name}/i.sock" if "inf" in name else ",".join(sockets),
            "JANROOT_PORT": str(self.ports.get(name, 0) or 1337),
        }

    async def _until_up(self, name: str) -> None:
        """Wait until the process serves; services in front of others are up before those are."""
        async with asyncio.timeout(EXIT_SECONDS):
            while not await self._is_up(name):
                assert self.processes[name].returncode is None, self.log(name)
                await asyncio.sleep(0.05)

    async def _is_up(self, name: str) -> bool:
        if name == "redis":
            async with connect(f"unix://{self.folder}/redis.sock") as redis:
                try:
                    return bool(await redis.ping())
                except RedisError:
                    return False
        if name in self.ports:
            try:
                async with aiohttp.ClientSession() as client, client.get(f"{self.url(name)}/readyz") as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False
        address = "JANROOT_STORAGE_ADDR" if name == "storage" else "JANROOT_INFERENCE_ADDR"
        async with open_channel(self._environment(name)[address]) as channel:
            return await is_serving(channel)


class People:
    """Clients that ask again and again: streamed chats, whole ones, and runs. What failed is kept, with the reason."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.answered = 0
        self.failures: list[str] = []
        self.retried: Counter[str] = Counter()
        self._more = asyncio.Condition()

    async def until_answered(self, more: int) -> None:
        """Wait until so many requests more were answered, or one failed."""
        enough = self.answered + more
        async with self._more:
            await self._more.wait_for(lambda: self.answered >= enough or bool(self.failures))

    @asynccontextmanager
    async def asking(self, count: int) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._ask_for_ever(number), name=f"person-{number}") for number in range(count)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask_for_ever(self, number: int) -> None:
        asks = (self._stream, self._whole, self._run)
        while True:
            ask = asks[number % len(asks)]
            number += 1
            try:
                async with asyncio.timeout(60):
                    await ask()
            except (AssertionError, aiohttp.ClientError, TimeoutError) as error:
                self.failures.append(f"{ask.__name__}: {type(error).__name__} {error}"[:600])
            async with self._more:
                self.answered += 1
                self._more.notify_all()

    async def _stream(self) -> None:
        said = await self._request("POST", "/v1/chat/completions", _chat(stream=True))
        lines = [line.removeprefix("data: ") for line in said.split("\n") if line.startswith("data: ")]
        assert lines[-1] == "[DONE]", lines[-1]
        deltas = [choice["delta"] for line in lines[:-1] for choice in json.loads(line)["choices"]]
        assert "".join(delta.get("content") or "" for delta in deltas) == text(TOKENS)

    async def _whole(self) -> None:
        answer = json.loads(await self._request("POST", "/v1/chat/completions", _chat()))
        assert answer["choices"][0]["message"]["content"] == text(TOKENS)

    async def _run(self) -> None:
        thread = {"messages": [{"role": "user", "content": "Hi"}]}
        body = {"assistant_id": "jan", "model": MODEL_ID, "max_completion_tokens": 256, "thread": thread}
        run = json.loads(await self._request("POST", "/v1/threads/runs", body))
        path = f"/v1/threads/{run['thread_id']}"
        while run["status"] in ("queued", "in_progress"):
            await asyncio.sleep(0.2)  # as clients poll
            run = json.loads(await self._request("GET", f"{path}/runs/{run['id']}"))
        assert run["status"] == "incomplete", run
        messages = json.loads(await self._request("GET", f"{path}/messages"))["data"]
        assert messages[0]["content"][0]["text"]["value"] == text(256)

    async def _request(self, method: str, path: str, body: Any = None) -> str:
        """Ask one gateway, or the other when nobody listens there; again after a 503 that says when."""
        tries = 0
        gateways = sorted(self._fleet.ports, key=lambda _: os.urandom(1))
        while True:
            for gateway in gateways:
                try:
                    status, answer, wait = await self._once(gateway, method, path, body)
                except aiohttp.ClientConnectorError:
                    continue  # not listening: a load balancer takes the next one
                if status == 200:
                    return answer
                reason = f"{status} {answer[:300]}"
                break
            else:
                status, reason, wait = 0, "nobody listens", ""
            assert wait, f"{method} {path}: {reason}"
            assert tries < RETRIES, f"{method} {path}: {reason}, {tries} tries"
            tries += 1
            self.retried[f"{method} {path.split('/')[2]} {status}"] += 1
            await asyncio.sleep(float(wait))

    async def _once(self, gateway: str, method: str, path: str, body: Any) -> tuple[int, str, str]:
        connector = aiohttp.TCPConnector(force_close=True)
        async with (
            aiohttp.ClientSession(self._fleet.url(gateway), connector=connector) as client,
            client.request(method, path, json=body) as response,
        ):
            return response.status, await response.text(), response.headers.get("Retry-After", "")


def _chat(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL_ID, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": TOKENS, **fields}


@asynccontextmanager
async def running_fleet(folder: Path) -> AsyncIterator[Fleet]:
    """All of it, over an engine of the test's own."""
    fleet = Fleet(folder)
    async with PacedEngine().serving() as engine:
        await asyncio.to_thread(write_model, fleet.janroot, sources=[{"url": engine.url}])
        try:
            for name in reversed(ORDER):
                await fleet.start(name)
            yield fleet
        finally:
            for process in fleet.processes.values():
                if process.returncode is None:
                    process.kill()
                    await process.wait()
