"""Reading JSON lines as Jan left them: whole, torn, glued together, with CRLF, or not JSON at all.

Nothing here judges what an object means. Every byte of the file belongs to exactly one segment or is white
space, so that a rewrite can carry over what it does not understand.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jan.errors import TooLargeError
from storage_service.store import jsontext
from storage_service.store.records import JsonObject

# A longer line is left where it is and reported: reading it would let one file take the service's memory.
MAX_LINE_BYTES = 16 * 1024 * 1024

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Segment:
    """One object in the file, or (`value` is None) a stretch of a line that could not be read as one."""

    offset: int
    length: int
    value: JsonObject | None


@dataclass(frozen=True, slots=True)
class Line:
    """A new line: what it says, and its bytes with the newline."""

    value: JsonObject
    data: bytes


def encode(value: JsonObject) -> bytes:
    """One object as one line, newline included. Raises InvalidArgumentError: it is nested too deep."""
    return jsontext.dumps(value)


def new_line(value: JsonObject) -> Line:
    """A line to append. Raises TooLargeError: it is longer than a reader takes. InvalidArgumentError: see `encode`."""
    data = encode(value)
    if len(data) > MAX_LINE_BYTES:
        raise TooLargeError(f"A record must stay below {MAX_LINE_BYTES} bytes.")
    return Line(value, data)


def segments(fd: int) -> Iterator[Segment]:
    """Every segment of an open file, in file order."""
    for offset, length, line in _lines(fd):
        if line is None:
            yield Segment(offset, length, None)
        else:
            yield from split(offset, line)


def read(fd: int, segment: Segment) -> bytes:
    """The bytes of one segment."""
    return os.pread(fd, segment.length, segment.offset)


def split(offset: int, line: bytes) -> Iterator[Segment]:
    """The objects on one line, then what is none. Two mean that an append lost its newline (janhq/jan #1057)."""
    value = jsontext.load_object(line)
    if value is not None:
        yield Segment(offset, len(line), value)
        return
    while line:
        length, value = _first_object(line)
        yield Segment(offset, length, value)
        rest = line[length:]
        line = rest.lstrip()
        offset += length + len(rest) - len(line)


def _lines(fd: int) -> Iterator[tuple[int, int, bytes | None]]:
    """Offset, length and text of each line that is not blank, without its ending; None for one that is too long."""
    with open(os.dup(fd), "rb") as file:
        file.seek(0)
        offset = 0
        while line := file.readline(MAX_LINE_BYTES):
            length = len(line)
            if length == MAX_LINE_BYTES and not line.endswith(b"\n"):
                length += sum(map(len, _rest_of_line(file.readline)))
                yield offset, length, None
            elif body := (line.removeprefix(_BYTE_ORDER_MARK) if offset == 0 else line).strip():
                yield offset + line.index(body[:1]), len(body), body
            offset += length


def _rest_of_line(readline: Callable[[int], bytes]) -> Iterator[bytes]:
    while part := readline(MAX_LINE_BYTES):
        yield part
        if part.endswith(b"\n"):
            return


def _first_object(line: bytes) -> tuple[int, JsonObject | None]:
    """Length and value of the object a line begins with; the whole line and None when it begins with none."""
    try:
        text = line.decode()
        _, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return len(line), None
    length = len(text[:end].encode())
    return length, jsontext.load_object(line[:length])
