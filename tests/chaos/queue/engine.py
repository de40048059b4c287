"""An engine behind HTTP whose every word is known, and which counts the answers that it is writing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from tests.chaos.engines.scripted_vllm import application
from tests.fixtures.stack import free_port

MODEL: Final = "known"
SLOTS: Final = 3


class KnownEngine:
    """What all engine hosts share; `active` answers hold a slot now."""

    def __init__(self) -> None:
        self.active = 0
        self.answers = 0
        self.url = f"http://127.0.0.1:{free_port()}/v1"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[KnownEngine]:
        """Listen until the block is left."""
        runner = web.AppRunner(application([self._counted]), handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        port = int(self.url.removesuffix("/v1").rpartition(":")[2])
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield self
        finally:
            await runner.cleanup()

    @web.middleware
    async def _counted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.active += 1
        self.answers += 1
        try:
            return await handler(request)
        finally:
            self.active -= 1
