"""Somebody between a client and the gateway: notes what is asked and answered, and loses answers on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from tests.clients.engine import in_thread

LOSES = "X-Loses-Answer"
"""A request with this header is passed on, and its first answer never arrives: the connection breaks instead."""
_RETRY = "x-stainless-retry-count"
# They belong to one connection.
_OF_THE_HOP = frozenset({"host", "connection", "content-length", "transfer-encoding", "keep-alive"})


@dataclass(frozen=True, slots=True)
class Passed:
    """One request that came by, and what it was answered; retry: which sending of it this is, from 0."""

    method: str
    path: str
    retry: int
    status: int


class Between:
    """A server that passes everything on."""

    def __init__(self, target: str) -> None:
        self.url = ""
        self.passed: list[Passed] = []
        self._target = target
        self._awaited = 0
        self._times = 0
        self._then: Callable[[], None] = _nothing

    def when(self, status: int, *, times: int, then: Callable[[], None]) -> None:
        """Do something, in a thread, at the so manyth answer with a status, before the client has that answer."""
        self._awaited, self._times, self._then = status, times, then

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Listen on a free port until the block is left."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", self._pass)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession(self._target, auto_decompress=False) as session:
            self._session = session
            try:
                yield
            finally:
                await runner.cleanup()

    async def _pass(self, request: web.Request) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OF_THE_HOP}
        body = await request.read()
        async with self._session.request(request.method, request.rel_url, headers=headers, data=body) as answer:
            told = await answer.read()
        retry = int(request.headers.get(_RETRY, 0))
        self.passed.append(Passed(request.method, request.path, retry, answer.status))
        if answer.status == self._awaited and [one.status for one in self.passed].count(answer.status) == self._times:
            await asyncio.to_thread(self._then)
        if LOSES in request.headers and retry == 0 and request.transport is not None:
            request.transport.abort()
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _OF_THE_HOP}
        return web.Response(status=answer.status, headers=kept, body=told)


def _nothing() -> None:
    pass


@contextmanager
def standing_between(target: str) -> Iterator[Between]:
    """Stand in front of a gateway for as long as the block lasts."""
    between = Between(target)
    with in_thread(between.serving(), asyncio.new_event_loop()):
        yield between
