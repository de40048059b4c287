"""`python -m tests.chaos.clients.engine PORT`: the engine whose every word is known, in a process of its own.

In the process that asks and measures, each word of the long answers would delay what is measured.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvloop
from aiohttp import ClientError, ClientSession, web

from tests.chaos.engines.scripted_vllm import application
from tests.fixtures.stack import free_port

START_SECONDS = 30.0


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """Its URL; it runs until the block is left."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__, str(port))
    try:
        await _wait_until_it_answers(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        await process.wait()


async def _wait_until_it_answers(url: str) -> None:
    async with asyncio.timeout(START_SECONDS), ClientSession() as session:
        while True:
            try:
                async with session.get(url):
                    return
            except ClientError:
                await asyncio.sleep(0.05)


if __name__ == "__main__":
    uvloop.install()
    web.run_app(application(), host="127.0.0.1", port=int(sys.argv[1]), handler_cancellation=True, print=None)
