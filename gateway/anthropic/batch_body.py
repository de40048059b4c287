"""The body of a batch of messages, one request at a time: all of it may be far larger than memory should be.

Strict as every body (`gateway/http/body.py`): each request is cut out by its brackets and parsed by itself, and so is
what stands around them.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Final

from aiohttp import web

from gateway.batches.lines import MAX_LINE_BYTES
from gateway.http.body import check_is_json, parse_json, parse_json_object, validate
from gateway.http.json_bounds import check_countable
from gateway.http.uploads import body_pieces
from gateway.schemas.anthropic_batches import MAX_REQUESTS, BatchedMessage, CreateMessageBatch
from jan.errors import InvalidArgumentError
from jan.json_scan import JsonScan

MAX_BATCH_BYTES: Final = 256 * 1024 * 1024
"""Anthropic's."""
# Nothing stands beside the requests that would be taken.
_MAX_FRAME_BYTES: Final = 64 * 1024
_REQUESTS: Final = "requests"
_BEFORE_REQUESTS: Final = re.compile(rb'"requests"[ \t\r\n]*:[ \t\r\n]*\Z')
_BLANKS: Final = b" \t\r\n"
_LIST, _COMMA, _OPENING = ord("["), ord(","), b"[{"


async def read_requests(request: web.Request) -> AsyncGenerator[BatchedMessage, None]:
    """The requests of a batch as they come. Close the generator.

    Raises InvalidArgumentError, naming what is at fault, behind those that were right; UnsupportedMediaTypeError;
    TooLargeError.
    """
    if request.can_read_body:
        check_is_json(request)
    cutter = _Cutter()
    seen: set[str] = set()
    async with aclosing(body_pieces(request, MAX_BATCH_BYTES, param="")) as pieces:
        async for piece in pieces:
            for data in cutter.feed(piece):
                asked = await _read(data, len(seen))
                _check_new(asked, seen)
                yield asked
    frame = parse_json_object(cutter.frame() or b"{}")
    if seen and frame.get(_REQUESTS) == []:
        frame[_REQUESTS] = [asked]
    body = validate(frame, CreateMessageBatch)
    body.check_supported()
    for asked in () if seen else body.requests:  # their name was written with escapes, so it was not found before
        _check_new(asked, seen)
        yield asked


async def _read(data: bytes, place: int) -> BatchedMessage:
    """One request. Raises InvalidArgumentError: as it would where it stands."""
    name = f"{_REQUESTS}[{place}]"
    try:
        await check_countable(data)
        value = parse_json(data)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(error.message, param=name, code=error.code) from None
    try:
        return validate({_REQUESTS: [value]}, CreateMessageBatch).requests[0]
    except InvalidArgumentError as error:
        message, param = (text.replace(f"{_REQUESTS}[0]", name, 1) for text in (error.message, error.param))
        raise InvalidArgumentError(message, param=param, code=error.code) from None


def _check_new(asked: BatchedMessage, seen: set[str]) -> None:
    """Raises InvalidArgumentError: one request too many, or with the id of another."""
    if len(seen) == MAX_REQUESTS:
        message = f"A batch may have at most {MAX_REQUESTS} requests."
        raise InvalidArgumentError(message, param=_REQUESTS, code="array_above_max_length")
    if asked.custom_id in seen:
        message = f"'custom_id' must be unique within a batch: {asked.custom_id}."
        raise InvalidArgumentError(message, param=f"{_REQUESTS}[{len(seen)}].custom_id")
    seen.add(asked.custom_id)


class _Cutter:
    """Cuts JSON that comes in pieces into the items of its `requests`, and the frame that is left without them."""

    def __init__(self) -> None:
        self._scan = JsonScan(b"[]{},")
        self._frame = bytearray()
        self._begin = 0
        """Of what was read and is neither an item nor in the frame yet."""
        self._depth = 0
        self._inside = False
        """Whether that is inside `requests`."""
        self._count = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The items that are whole now, each as the text that it is. Raises InvalidArgumentError: one is too long."""
        self._scan.buffer += piece
        for place in self._scan.marks():
            yield from self._met(place)
        if not self._inside:
            self._to_frame(self._scan.at)
        elif self._scan.at - self._begin > MAX_LINE_BYTES:
            message = f"A request may hold at most {MAX_LINE_BYTES} bytes."
            raise InvalidArgumentError(message, param=f"{_REQUESTS}[{self._count}]")
        self._scan.forget(self._begin)
        self._begin = 0

    def frame(self) -> bytes:
        """What stands around the items, once everything was fed."""
        return bytes(self._frame)

    def _met(self, place: int) -> Iterator[bytes]:
        mark = self._scan.buffer[place]
        if mark == _COMMA:
            if self._inside and self._depth == 2:
                yield self._item(place)
                self._begin = place + 1
        elif mark in _OPENING:
            self._depth += 1
            if mark == _LIST and self._depth == 2 and not self._inside:
                self._to_frame(place)
                self._inside = _BEFORE_REQUESTS.search(self._frame) is not None
                self._to_frame(place + 1)
        else:
            self._depth -= 1
            if self._inside and self._depth == 1:
                self._inside = False
                is_empty = not self._count
                item = self._item(place)
                if item or not is_empty:
                    yield item

    def _item(self, end: int) -> bytes:
        """The text before a comma, or before the end of the list."""
        item = bytes(self._scan.buffer[self._begin : end]).strip(_BLANKS)
        self._begin = end
        self._count += 1
        return item

    def _to_frame(self, end: int) -> None:
        self._frame += self._scan.buffer[self._begin : end]
        self._begin = end
        if len(self._frame) > _MAX_FRAME_BYTES:
            message = f"At most {_MAX_FRAME_BYTES} bytes may stand beside 'requests' in the body of your request."
            raise InvalidArgumentError(message, param=_REQUESTS)
