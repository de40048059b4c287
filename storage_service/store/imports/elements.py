"""JSON of hundreds of megabytes, one element of its outermost list at a time, each as the bytes that it is.

Only strings and brackets are looked at, so a broken element harms none of its neighbours, and none is parsed before it
is known to be small. Parsers that stream (ijson) build whatever depth a stranger sends until memory is gone, and
replace what they cannot decode in silence.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from storage_service.store import jsontext

# The longest conversations have some megabytes. Strings and brackets are counted as well, since `[[],[],…` takes
# twenty times its length in memory.
MAX_ELEMENT_BYTES = 64 * 1024 * 1024
MAX_ELEMENT_TOKENS = 2_000_000

# A whole string, a bracket, or the quote of a string that goes on.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]|"', re.DOTALL)
_INSIDE_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_QUOTE, _LIST, _OPENING = ord('"'), ord("["), b"[{"
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
        self._buffer = bytearray()
        self._begin = 0
        self._at = 0
        self._depth = 0
        self._base = 0
        """The depth at which elements begin: 1 inside the outermost list."""
        self._tokens = 0
        self._in_string = False
        self._is_too_large = False

    def feed(self, piece: bytes) -> Iterator[Element]:
        """Read on; answers the elements that are complete now."""
        self._buffer += piece
        for place in self._brackets():
            yield from self._opened(place) if self._buffer[place] in _OPENING else self._closed(place)
        self._forget()

    def end(self) -> Iterator[Element]:
        """Answers what is left when nothing follows."""
        is_whole = not self._depth and not self._base
        for element in self._taken(len(self._buffer)):
            yield Element(element.data, is_whole)
        if self._base == self._depth == 1:
            yield Element(b"", is_whole=False)

    def _brackets(self) -> Iterator[int]:
        """Where the brackets are that stand in no string, as far as the buffer goes."""
        if self._in_string and not self._leave_string():
            return
        for token in _TOKEN.finditer(self._buffer, self._at):
            self._at = token.end()
            self._tokens += 1
            if self._buffer[token.start()] != _QUOTE:
                yield token.start()
            elif token.end() - token.start() == 1:
                self._in_string = True
                self._leave_string()
                return
        self._at = len(self._buffer)

    def _leave_string(self) -> bool:
        """Go on to the end of the string that is open; whether it is there."""
        inside = _INSIDE_STRING.match(self._buffer, self._at)
        self._at = inside.end() if inside else self._at
        if self._buffer[self._at : self._at + 1] == b'"':
            self._at += 1
            self._in_string = False
        return not self._in_string

    def _opened(self, place: int) -> Iterator[Element]:
        if self._depth == self._base:
            yield from self._taken(place)
            if self._base == 0 and self._buffer[place] == _LIST:
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
        is_too_large = self._is_too_large or end - self._begin > MAX_ELEMENT_BYTES or self._tokens > MAX_ELEMENT_TOKENS
        data = None if is_too_large else bytes(self._buffer[self._begin : end]).strip(_BETWEEN)
        self._begin = end
        self._tokens = 0
        self._is_too_large = False
        if data is None or data:
            yield Element(data)

    def _forget(self) -> None:
        """Drop what was handed out, and what is too large to be."""
        if self._at - self._begin > MAX_ELEMENT_BYTES or self._tokens > MAX_ELEMENT_TOKENS:
            self._is_too_large = True
            self._begin = self._at
        del self._buffer[: self._begin]
        self._at -= self._begin
        self._begin = 0
