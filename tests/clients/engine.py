"""The scripted engine in a thread of its own, for processes that ask it: calls a function, then says five words."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

from aiohttp import web

from tests.inference_service.scripted_engine import ScriptedEngine
from tests.inference_service.scripted_words import text

WORDS = 5
SAID = text(WORDS).strip()


class CallingEngine(ScriptedEngine):
    """Calls the first function that there is, until it is told an output; answers in `SAID`."""

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await super()._stream(request, _settled(body))

    async def _whole(self, body: dict[str, Any]) -> web.Response:
        return await super()._whole(_settled(body))

    def hold_from(self, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        """Hold the words; what is returned lets them go, from any thread."""
        asyncio.run_coroutine_threadsafe(_called(self.hold), loop).result()
        return lambda: asyncio.run_coroutine_threadsafe(_called(self.let_go), loop).result()


def _settled(body: dict[str, Any]) -> dict[str, Any]:
    calls = bool(body.get("tools")) and body["messages"][-1]["role"] != "tool"
    return body if calls else body | {"tool_choice": "none", "max_tokens": WORDS + 1, "stop": [f" w{WORDS}"]}


async def _called(function: Callable[[], None]) -> None:
    function()


class ServedEngine:
    """The engine and the loop that it lives in."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.engine = CallingEngine()

    @property
    def url(self) -> str:
        return self.engine.url

    @property
    def requests(self) -> list[dict[str, Any]]:
        """What it was asked so far."""
        return list(self.engine.requests)

    def hold(self) -> Callable[[], None]:
        """Say nothing until what is returned is called."""
        return self.engine.hold_from(self.loop)


@contextmanager
def serving() -> Iterator[ServedEngine]:
    """The engine on a free port, for as long as the block lasts."""
    served = ServedEngine()
    with in_thread(served.engine.serving(), served.loop):
        yield served


@contextmanager
def in_thread(server: AbstractAsyncContextManager[object], loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Have a server open in a thread of its own, for as long as the block lasts; its loop is closed after that."""
    stop = asyncio.Event()
    ready = threading.Event()

    async def serve() -> None:
        async with server:
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="served")
    thread.start()
    assert ready.wait(30)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
