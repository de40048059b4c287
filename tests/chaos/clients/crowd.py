"""The whole product with an engine whose every word is known, and people who ask it all the time and are measured."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil

from tests.chaos.clients import engine
from tests.chaos.engines.scripted_vllm import answer_to
from tests.chaos.oracle import Finding
from tests.chaos.queue.engine import MODEL
from tests.fixtures.gateway import write_model
from tests.fixtures.stack import Stack

PEOPLE = 20
# An engine of their own, so that what is measured is not how one engine is shared.
PEOPLES_MODEL = "people"
SERVED = "others are answered as before"
BOUNDED = "a hostile client costs a bounded amount of memory"
# F14 asks for it, however many they are.
MOST_BYTES = 100 << 20
_SAMPLE_SECONDS = 0.2

Clients = Callable[[Stack, int], Awaitable[list[Finding]]]


@dataclass(slots=True)
class Seen:
    """What was seen while something went on. grown_bytes: of each process, at most."""

    findings: list[Finding] = field(default_factory=list)
    waits_ms: list[float] = field(default_factory=list)
    grown_bytes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def answers(self) -> int:
        """How many others were answered."""
        return len(self.waits_ms)

    @property
    def median_ms(self) -> float:
        """Of the time from a question to the end of its answer."""
        return statistics.median(self.waits_ms)

    @property
    def p99_ms(self) -> float:
        """The same."""
        return statistics.quantiles(self.waits_ms, n=100, method="inclusive")[98]


class Crowd:
    """People who never stop asking."""

    def __init__(self, stack: Stack, session: aiohttp.ClientSession) -> None:
        self.before = Seen()
        self._stack = stack
        self._session = session
        self._seen = self.before
        self._asked = 0

    @classmethod
    @asynccontextmanager
    async def gathered(cls) -> AsyncIterator[Crowd]:
        """Start everything, and the asking; stop it again."""
        with tempfile.TemporaryDirectory(prefix="jan-chaos-") as folder:
            stack = Stack(Path(folder))
            async with (
                engine.serving() as hostiles_url,
                engine.serving() as peoples_url,
                aiohttp.ClientSession(stack.url) as session,
            ):
                settings = {"continue_final_message": True, "n_parallel": 400}
                for model, url in (MODEL, hostiles_url), (PEOPLES_MODEL, peoples_url):
                    write_model(stack.janroot, model, sources=[{"url": url}], settings=settings)
                await asyncio.to_thread(stack.start_all)
                crowd = cls(stack, session)
                asking = [asyncio.create_task(crowd._ask_for_ever(f"person-{n}"), name="person") for n in range(PEOPLE)]
                try:
                    yield crowd
                finally:
                    for task in asking:
                        task.cancel()
                    await asyncio.gather(*asking, return_exceptions=True)
                    await session.close()
                    await asyncio.to_thread(stack.stop_all)

    async def quiet(self, seconds: float) -> None:
        """Let them ask without anybody else."""
        await asyncio.sleep(seconds)

    async def beside(self, clients: Clients, count: int, *, most_bytes: float = MOST_BYTES) -> Seen:
        """Send so many clients; what was seen until all of them were gone. most_bytes: that the gateway may grow."""
        self._seen = seen = Seen()
        base = self._memory()
        seen.grown_bytes = dict.fromkeys(base, 0)
        sampling = asyncio.create_task(self._sample(base, seen), name="sample")
        began = time.monotonic()
        seen.findings += await clients(self._stack, count)
        seen.seconds = time.monotonic() - began
        sampling.cancel()
        if seen.grown_bytes["gateway"] > most_bytes:
            seen.findings.append(Finding(BOUNDED, f"{seen.grown_bytes}, {most_bytes} at most"))
        return seen

    async def _sample(self, base: dict[str, int], seen: Seen) -> None:
        while True:
            for name, size in self._memory().items():
                seen.grown_bytes[name] = max(seen.grown_bytes[name], size - base[name])
            await asyncio.sleep(_SAMPLE_SECONDS)

    def _memory(self) -> dict[str, int]:
        pids = {"gateway": self._stack.processes["gateway"].pid, "redis": self._stack.redis.pid}
        return {name: psutil.Process(pid).memory_info().rss for name, pid in pids.items()}

    async def _ask_for_ever(self, key: str) -> None:
        while True:
            self._asked += 1
            question = f"q{self._asked} 20"
            began = time.perf_counter()
            try:
                wrong = await self._ask(question, key)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                wrong = repr(error)
            if wrong:
                self._seen.findings.append(Finding(SERVED, f"{question}: {wrong}"))
            self._seen.waits_ms.append(1000 * (time.perf_counter() - began))
            await asyncio.sleep(0.05)

    async def _ask(self, question: str, key: str) -> str:
        """Ask a streamed chat; what was wrong with its answer."""
        body = {"model": PEOPLES_MODEL, "stream": True, "messages": [{"role": "user", "content": question}]}
        by = {"Authorization": f"Bearer {key}"}
        async with asyncio.timeout(30), self._session.post("/v1/chat/completions", json=body, headers=by) as answer:
            text = await answer.text()
        lines = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
        if answer.status != 200 or lines[-1] != "[DONE]":
            return f"{answer.status} {text[-300:]}"
        said = [choice["delta"].get("content") or "" for line in lines[:-1] for choice in json.loads(line)["choices"]]
        return "" if "".join(said) == answer_to(question) else f"said {said}"
