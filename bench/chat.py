"""What Janroot adds to a chat: the same requests straight to a fake engine and through all four processes.

`make bench`. Prints a Markdown table. Each figure is the median of several rounds, direct and through in turn, so
that a machine whose speed drifts does not favour one of them.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from bench.fake_engine import MODEL, TOKENS
from tests.fixtures.stack import Stack, free_port

ROUNDS = 5
SINGLE_REQUESTS = 60
CLIENTS = 16
REQUESTS_PER_CLIENT = 40


@dataclass(frozen=True)
class Figures:
    """One round against one server."""

    first_token_ms: float
    whole_ms: float
    chunks_per_second: float
    requests_per_second: float


def body(*, stream: bool) -> dict[str, Any]:
    """The request that everybody sends."""
    return {"model": MODEL, "stream": stream, "messages": [{"role": "user", "content": "Say something."}]}


async def ask(session: aiohttp.ClientSession, url: str, *, stream: bool) -> tuple[float, float, int]:
    """One request: seconds to the first token, seconds to the end, chunks with text."""
    began = time.perf_counter()
    first = 0.0
    chunks = 0
    async with session.post(f"{url}/v1/chat/completions", json=body(stream=stream)) as response:
        response.raise_for_status()
        async for piece in response.content.iter_any():
            found = piece.count(b"word")
            if found and not first:
                first = time.perf_counter() - began
            chunks += found
    assert chunks == TOKENS, chunks
    return first, time.perf_counter() - began, chunks


async def single(session: aiohttp.ClientSession, url: str, *, stream: bool) -> float:
    """The median for one client alone, in milliseconds: to the first token if streamed, else to the end."""
    asked = [await ask(session, url, stream=stream) for _ in range(SINGLE_REQUESTS)]
    return statistics.median(first if stream else whole for first, whole, _ in asked) * 1000


async def crowd(session: aiohttp.ClientSession, url: str, *, stream: bool) -> float:
    """Requests a second that several clients get together."""

    async def client() -> None:
        for _ in range(REQUESTS_PER_CLIENT):
            await ask(session, url, stream=stream)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return CLIENTS * REQUESTS_PER_CLIENT / (time.perf_counter() - began)


async def measure(session: aiohttp.ClientSession, url: str) -> Figures:
    """One round."""
    return Figures(
        first_token_ms=await single(session, url, stream=True),
        whole_ms=await single(session, url, stream=False),
        chunks_per_second=await crowd(session, url, stream=True) * TOKENS,
        requests_per_second=await crowd(session, url, stream=False),
    )


async def compare(direct: str, through: str) -> str:
    """Measure both in turn, and lay the medians side by side."""
    rounds: dict[str, list[Figures]] = {direct: [], through: []}
    async with aiohttp.ClientSession() as session:
        for url in (direct, through):
            await ask(session, url, stream=True)
        for number in range(ROUNDS):
            for url, figures in rounds.items():
                figures.append(await measure(session, url))
            sys.stderr.write(f"round {number + 1} of {ROUNDS}\n")

    def median(url: str, name: str) -> float:
        return float(statistics.median(getattr(figures, name) for figures in rounds[url]))

    def row(label: str, name: str) -> str:
        return f"| {label} | {median(direct, name):,.1f} | {median(through, name):,.1f} |"

    return "\n".join(
        [
            "| measure | direct | through Janroot |",
            "|---|---|---|",
            row("first token, 1 client, ms", "first_token_ms"),
            row("whole answer, not streamed, 1 client, ms", "whole_ms"),
            row(f"chunks/s, {CLIENTS} streams", "chunks_per_second"),
            row(f"requests/s, {CLIENTS} clients, not streamed", "requests_per_second"),
        ]
    )


def write_model(janroot: Path, url: str, model_id: str = MODEL) -> None:
    """A remote model whose engine is a fake one."""
    folder = janroot / "models" / model_id
    folder.mkdir(parents=True)
    model = {"id": model_id, "object": "model", "engine": "openai", "format": "api", "sources": [{"url": f"{url}/v1"}]}
    (folder / "model.json").write_text(json.dumps(model))


def with_everything(measured: Callable[[str, str], Coroutine[Any, Any, str]]) -> str:
    """Start the fake engine and the whole product, measure, and stop them."""
    direct = f"http://127.0.0.1:{free_port()}"
    engine = subprocess.Popen([sys.executable, "-m", "bench.fake_engine", direct.rpartition(":")[2]])
    with tempfile.TemporaryDirectory(prefix="jan-bench-") as folder:
        stack = Stack(Path(folder))
        write_model(stack.janroot, direct)
        try:
            stack.start_all()
            return uvloop.run(measured(direct, stack.url))
        finally:
            stack.stop_all()
            engine.terminate()
            engine.wait()


if __name__ == "__main__":
    sys.stdout.write(f"{with_everything(compare)}\n")
