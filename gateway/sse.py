"""Server-sent events: framing, keep-alive comments, deadlines for readers that do not read.

No `id:` or `retry:` fields: an `id:` followed by a comment makes the stock Python SDK see an event without data.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from aiohttp import web

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
KEEP_ALIVE_SECONDS = 10.0
WRITE_SECONDS = 30.0

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


def frame(data: bytes, *, event: str = "") -> bytes:
    """One event. data: JSON on one line, as every writer here makes it."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), data) if event else b"data: %s\n\n" % data


class EventStream:
    """An open event stream to one client; use as a context, write whole frames."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._response = web.StreamResponse(headers=_HEADERS)

    async def __aenter__(self) -> Self:
        """Send the headers; from now on errors are frames, not statuses."""
        await self._response.prepare(self._request)
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self._response.write_eof()

    async def write(self, frames: bytes) -> None:
        """Send frames. Raises ConnectionError: the client left, or did not read for 30 seconds."""
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._response.write(frames)
        except TimeoutError:
            raise ConnectionAbortedError("the client did not read for 30 seconds") from None

    @property
    def response(self) -> web.StreamResponse:
        """What the handler returns."""
        return self._response
