"""What never reaches a handler is answered in OpenAI's form too; limits of the server itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web, web_protocol
from aiohttp.helpers import ceil_timeout

from gateway.http.server import DRAIN_SECONDS, new_runner


async def test_open_requests_get_the_drain_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that goes on writing; the times that the server waits for it are added up, not measured."""
    waits: list[float | None] = []

    def at_once(delay: float | None, **options: Any) -> asyncio.Timeout:
        waits.append(delay)
        return ceil_timeout(0.05, **options)

    ended = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        try:
            while True:
                await answer.write(b"x")
                await asyncio.sleep(0.001)
        finally:
            ended.set()

    app = web.Application()
    app.router.add_get("/endless", endless)
    runner = new_runner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
    writer.write(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
    await reader.readuntil(b"x")
    monkeypatch.setattr(web_protocol, "ceil_timeout", at_once)
    await runner.cleanup()
    assert ended.is_set()
    assert sum(wait or 0 for wait in waits) == DRAIN_SECONDS
    writer.close()
    await writer.wait_closed()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """The production server on a free port, around an application of one route."""

    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/hello", hello)
    runner = new_runner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield int(runner.addresses[0][1])
    await runner.cleanup()


async def exchange(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send raw bytes, and read the answer until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(10):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        body = await reader.readexactly(int(headers["content-length"]))
    writer.close()
    await writer.wait_closed()
    return int(head[0].split()[1]), headers, body


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: a\r\nHost : b\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Encoding: deflate\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=["garbage", "space-before-colon", "smuggling", "long-header", "very-long-line", "not-deflated"],
)
async def test_malformed_http_is_refused_in_openais_form(port: int, request_bytes: bytes) -> None:
    status, headers, body = await exchange(port, request_bytes)
    assert status == 400
    assert headers["content-type"].startswith("application/json")
    assert headers["x-request-id"].startswith("req_")
    assert json.loads(body)["error"]["code"] == "malformed_request"


@pytest.mark.parametrize("sent", [b"", b"GET /hello HT"], ids=["nothing", "a part"])
async def test_a_connection_on_which_no_whole_head_comes_is_closed(
    monkeypatch: pytest.MonkeyPatch, port: int, sent: bytes
) -> None:
    monkeypatch.setattr("gateway.http.server.HEAD_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_well_formed_requests_pass(port: int) -> None:
    status, _, body = await exchange(port, b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert (status, body) == (200, b"hello")


async def test_a_line_with_a_far_too_long_id_reaches_the_router(port: int) -> None:
    line = b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert (await exchange(port, line))[0] == 404
