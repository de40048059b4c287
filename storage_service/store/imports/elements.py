"""JSON of hundreds of megabytes, one element of its outermost list at a time, each as the bytes that it is.

Only strings and brackets are looked at, so a broken element harms none of its neighbours, and none is parsed before it
is known to be small. Parsers that stream (ijson) build whatever depth a stranger sends until memory is gone, and
replace what they cannot decode in silence.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from jan.json_scan import JsonScan
from storage_service.store import jsontext

# The longest conversations have some megabytes. Strings and brackets are counted as well, since `[[],[],…` takes
# twenty times its length in memory.
MAX_ELEMENT_BYTES = 64 * 1024 * 1024
MAX_ELEMENT_TOKENS = 2_000_000

_LIST, _OPENING = ord("["), b"[{"
# White space, commas, and a byte order mark.
_BETWEEN = b" \t\r\n,\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Element:
    """An object or list inside the outermost list, or what stands between two. `data` is None: too large."""

    data: bytes | None
    is_whole: bool = True
    """Whether its end was there."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """An element's value; `is_mended` when characters were replaced that no text can hold."""

    value: Any
    is_mended: bool = False


def split(pieces: Iterable[bytes]) -> Iterator[Element]:
    """The elements of JSON that arrives in pieces: of a list, or objects one after the other."""
    splitter = _Splitter()
    for piece in pieces:
        yield from splitter.feed(piece)
    yield from splitter.end()


def parse(data: bytes) -> Parsed | None:
    """The value of an element; None when it is not JSON, or nested too deep to be read.

    Unpaired surrogates, bytes that are no UTF-8, and NaN are replaced: one of them would cost the whole conversation.
    """
    try:
        return Parsed(jsontext.loads(data))
    except ValueError:
        pass
    try:
        value = json.loads(data.decode(errors="replace"), parse_constant=lambda _: None)
        text = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass").decode(errors="replace")
        return Parsed(jsontext.loads(text.encode()), is_mended=True)
    except (ValueError, RecursionError):
        return None


class _Splitter:
    """How far was read. What is open, or stands between two elements, begins at `_begin` of the buffer."""

    def __init__(self) -> None:
        self._scan = JsonScan()
        self._begin = 0
        self._depth = 0
        self._base = 0
        """The depth at which elements begin: 1 inside the outermost list."""
        self._is_too_large = False

    def feed(self, piece: bytes) -> Iterator[Element]:
        """Read on; answers the elements that are complete now."""
        self._scan.buffer += piece
        for place in self._scan.marks():
            yield from self._opened(place) if self._scan.buffer[place] in _OPENING else self._closed(place)
        self._forget()

    def end(self) -> Iterator[Element]:
        """Answers what is left when nothing follows."""
        is_whole = not self._depth and not self._base
        for element in self._taken(len(self._scan.buffer)):
            yield Element(element.data, is_whole)
        if self._base == self._depth == 1:
            yield Element(b"", is_whole=False)

    def _opened(self, place: int) -> Iterator[Element]:
        if self._depth == self._base:
            yield from self._taken(place)
            if self._base == 0 and self._scan.buffer[place] == _LIST:
                self._base = 1
                self._begin = place + 1
        self._depth += 1

    def _closed(self, place: int) -> Iterator[Element]:
        if self._depth > self._base:
            self._depth -= 1
            if self._depth == self._base:
                yield from self._taken(place + 1)
        else:
            # The outermost list's end, or a bracket too many.
            yield from self._taken(place)
            self._begin = place + 1
            self._base = self._depth = 0

    def _taken(self, end: int) -> Iterator[Element]:
        """What begins at `_begin`, unless it is blank; the next begins at its end."""
        is_too_large = (
            self._is_too_large or end - self._begin > MAX_ELEMENT_BYTES or self._scan.tokens > MAX_ELEMENT_TOKENS
        )
        data = None if is_too_large else bytes(self._scan.buffer[self._begin : end]).strip(_BETWEEN)
        self._begin = end
        self._scan.tokens = 0
        self._is_too_large = False
        if data is None or data:
            yield Element(data)

    def _forget(self) -> None:
        """Drop what was handed out, and what is too large to be."""
        if self._scan.at - self._begin > MAX_ELEMENT_BYTES or self._scan.tokens > MAX_ELEMENT_TOKENS:
            self._is_too_large = True
            self._begin = self._scan.at
        self._scan.forget(self._begin)
        self._begin = 0
