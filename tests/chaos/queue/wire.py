"""A line to Redis that can break: what a service asks arrives, and the reply is cut somewhere in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_READ_BYTES = 1 << 16


class Wire:
    """One service's way to Redis, over a socket of its own."""

    def __init__(self, socket: Path, redis_socket: Path, chance: random.Random) -> None:
        self.url = f"unix://{socket}"
        self.cuts = 0
        self._socket = socket
        self._redis_socket = redis_socket
        self._chance = chance
        self._still_to_cut = 0
        self._lines: set[asyncio.Task[None]] = set()

    def cut(self, replies: int) -> None:
        """Cut the next replies, each with its connection; what was asked has been done by then."""
        self._still_to_cut += replies

    def mend(self) -> None:
        """Cut no more."""
        self._still_to_cut = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Carry bytes both ways until the block is left."""
        server = await asyncio.start_unix_server(self._accept, self._socket)
        try:
            yield
        finally:
            server.close()
            for line in self._lines:
                line.cancel()
            await asyncio.gather(*self._lines, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.create_task(self._carry(reader, writer), name="wire")
        self._lines.add(line)
        line.add_done_callback(self._lines.discard)

    async def _carry(self, asked: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        """Until one side closes: Redis being away is a refused connection for the service, too."""
        with contextlib.suppress(OSError):
            try:
                replies, requests = await asyncio.open_unix_connection(self._redis_socket)
            except OSError:
                answer.transport.abort()
                return
            ways = [
                asyncio.create_task(self._copy(asked, requests, cuts=False), name="requests"),
                asyncio.create_task(self._copy(replies, answer, cuts=True), name="replies"),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                requests.transport.abort()
                answer.transport.abort()

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, cuts: bool) -> None:
        while data := await source.read(_READ_BYTES):
            if cuts and self._still_to_cut:
                self._still_to_cut -= 1
                self.cuts += 1
                target.write(data[: self._chance.randrange(len(data))])
                await target.drain()
                return
            target.write(data)
            await target.drain()
