from __future__ import annotations

import asyncio
import gzip

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from inference_service.engines.client import EngineClient
from inference_service.engines.engine import Connection
from jan.errors import InternalError
from tests.inference_service.scripted_engine import ScriptedEngine

REQUEST = {"messages": [{"role": "user", "content": "Hello."}], "stream": True}
_PACKED = gzip.compress(bytes(65 * 1024 * 1024), 1)


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


async def test_an_answer_without_end_is_given_up() -> None:
    """What comes packed is counted as what it unpacks to."""

    async def embeddings(_: web.Request) -> web.Response:
        return web.Response(body=_PACKED, headers={"Content-Encoding": "gzip"})

    app = web.Application()
    app.router.add_post("/v1/embeddings", embeddings)
    async with TestServer(app) as server, EngineClient(Connection(str(server.make_url("/v1")))) as client:
        with pytest.raises(InternalError, match="longer than 67,108,864 bytes"):
            await client.embed({"input": ["a"]})
