from __future__ import annotations

import asyncio

import aiohttp
import pytest

from inference_service.engines.client import EngineClient
from inference_service.engines.engine import Connection
from tests.inference_service.scripted_engine import ScriptedEngine

REQUEST = {"messages": [{"role": "user", "content": "Hello."}], "stream": True}


async def test_closing_ends_answers_that_are_being_read(scripted: ScriptedEngine) -> None:
    """The reader of an engine that is gone is told so, even if we are the first to close the connection."""
    scripted.hold(after_tokens=1)
    client = EngineClient(Connection(scripted.url))
    reading = asyncio.Event()

    async def read() -> None:
        async with client.chat(REQUEST) as content:
            async for _ in content.iter_any():
                reading.set()

    reader = asyncio.create_task(read())
    await reading.wait()
    await client.close()
    with pytest.raises(aiohttp.ClientError):
        await reader
