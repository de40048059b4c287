"""Server-sent events: framing, keep-alive comments, deadlines for readers that do not read.

`id:` fields go only to clients that asked for numbers: an `id:` followed by a comment and its blank line makes the
stock Python SDK see an event without data. Comments between numbered events have no blank line for the same reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

from aiohttp import web

from jan import keys

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
NUMBERED_KEEP_ALIVE = b": keep-alive\n"
KEEP_ALIVE_SECONDS = 10.0
# A reader that takes not one piece in this time is dropped (docs/promises.md P13).
WRITE_SECONDS = 30.0
PIECE_BYTES = 16 * 1024
# What the last words for a slow reader may take.
LAST_WORDS_SECONDS = 5.0

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


def frame(data: bytes, *, event: str = "") -> bytes:
    """One event. data: JSON on one line, as every writer here makes it."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), data) if event else b"data: %s\n\n" % data


def numbered(number: int, framed: bytes, *, round_: int = 1) -> bytes:
    """The same event with its number as `id:`, for a client that asked for numbers: `n`, later `round.n`."""
    return b"id: %d\n%b" % (number, framed) if round_ == 1 else b"id: %d.%d\n%b" % (round_, number, framed)


class StreamRecord:
    """What one stream says, kept up to a bound for its request sent again (gateway/idempotency/requests.py)."""

    def __init__(self, on_open: Callable[[StreamRecord], Awaitable[None]]) -> None:
        """`on_open` is awaited before the first byte goes out."""
        self._on_open = on_open
        self._said = bytearray()
        self.address: tuple[str, ...] = ()
        self.opening = b""
        self.failed = False
        self.has_begun = False
        """Whether a first byte may have gone out."""
        self.is_refused = False
        """Whether another gateway has begun the same stream: nothing may be told of this one."""

    async def open(self, address: tuple[str, ...], opening: bytes) -> None:
        """The stream begins."""
        self.address, self.opening = address, opening
        await self._on_open(self)
        self.has_begun = True

    def add(self, frames: bytes) -> None:
        """More was said."""
        if len(self._said) <= keys.RECORDED_MAX_BYTES:
            self._said += frames

    @property
    def said(self) -> bytes:
        """All of it; longer than the bound when there was more than is kept."""
        return bytes(self._said)


STREAM_RECORD = web.RequestKey("stream_record", StreamRecord)
"""Set for a request whose stream is to be kept."""


class EventStream:
    """An open event stream to one client; use as a context, write whole frames."""

    def __init__(
        self,
        request: web.Request,
        *,
        address: tuple[str, ...] = (),
        opening: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`address` names what can be followed again later; `opening` goes in front of all that is followed."""
        self._request = request
        self._address = address
        self._opening = opening
        self._record = request.get(STREAM_RECORD)
        self._response = web.StreamResponse(headers={**_HEADERS, **(headers or {})})
        self._ends_at: float | None = None
        self._writing: asyncio.Timeout | None = None

    async def __aenter__(self) -> Self:
        """Send the headers; from now on errors are frames, not statuses."""
        if self._record is not None:
            await self._record.open(self._address, self._opening)
        await self._response.prepare(self._request)
        if self._opening:
            await self.write(self._opening)
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self._response.write_eof()

    async def write(self, frames: bytes) -> None:
        """Send frames. Raises ConnectionError: the client left, or took nothing for 30 seconds, or 5 in a hurry."""
        if self._record is not None:
            self._record.add(frames)
        for start in range(0, len(frames), PIECE_BYTES):
            piece = frames[start : start + PIECE_BYTES]
            left = None if self._ends_at is None else self._ends_at - asyncio.get_running_loop().time()
            await self._write(piece, WRITE_SECONDS if left is None else left)

    def hurry(self) -> None:
        """Have what is being written taken in the time of last words: the reader was dropped, nothing follows it.

        An engine that writes for this reader alone is then let go in seconds, not in the half minute of a slow reader.
        """
        self._ends_at = soon = asyncio.get_running_loop().time() + LAST_WORDS_SECONDS
        if self._writing is not None and not self._writing.expired():
            self._writing.reschedule(min(soon, self._writing.when() or soon))

    def write_now(self, frames: bytes) -> bool:
        """Send frames to a client that has taken all that was sent so far; False, and nothing sent, to any other.

        Costs half of what `write` does: without anything that could make it wait it needs no deadline and no task.
        """
        transport = self._request.transport
        if transport is None or transport.get_write_buffer_size() or len(frames) > PIECE_BYTES:
            return False
        writing = self._response.write(frames)
        try:
            writing.send(None)
        except StopIteration:
            pass
        except ConnectionError:
            return False
        finally:
            writing.close()
        if self._record is not None:
            self._record.add(frames)
        return True

    async def fail(self, frames: bytes) -> None:
        """Send frames that say why the stream ends early, to a reader that may be slow. Raises ConnectionError."""
        if self._record is not None:
            self._record.failed = True
        await self._write(frames, LAST_WORDS_SECONDS)

    async def _write(self, data: bytes, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds) as self._writing:
                await self._response.write(data)
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()  # a mere close would wait until it has read what it was sent
            raise ConnectionAbortedError("the client reads nothing") from None
        finally:
            self._writing = None

    @property
    def is_refused(self) -> bool:
        """Whether another gateway tells this stream, so that a repetition of its request finds that one."""
        return self._record is not None and self._record.is_refused

    @property
    def response(self) -> web.StreamResponse:
        """What the handler returns."""
        return self._response
