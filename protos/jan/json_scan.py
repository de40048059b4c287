"""Where the brackets of JSON stand that comes in pieces; what is inside strings is no bracket."""

from __future__ import annotations

import re
from collections.abc import Iterator

_QUOTE = ord('"')
_INSIDE_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)


class JsonScan:
    """How far was read. Add to `buffer`, go through the `marks`, and `forget` what was dealt with."""

    def __init__(self, marks: bytes = b"[]{}") -> None:
        """`marks`: which characters count, where they stand in no string."""
        self.buffer = bytearray()
        self.at = 0
        """So far was read."""
        self.tokens = 0
        """How many strings and marks there were; whoever bounds them sets it back."""
        # A whole string, a mark, or the quote of a string that goes on.
        self._token = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[' + re.escape(marks) + rb']|"', re.DOTALL)
        self._in_string = False

    def marks(self) -> Iterator[int]:
        """The places of the marks that were not read yet, as far as the buffer goes."""
        if self._in_string and not self._leave_string():
            return
        for token in self._token.finditer(self.buffer, self.at):
            self.at = token.end()
            self.tokens += 1
            if self.buffer[token.start()] != _QUOTE:
                yield token.start()
            elif token.end() - token.start() == 1:
                self._in_string = True
                self._leave_string()
                return
        self.at = len(self.buffer)

    def forget(self, end: int) -> None:
        """Drop the buffer's beginning, so far."""
        del self.buffer[:end]
        self.at -= end

    def _leave_string(self) -> bool:
        """Go on to the end of the string that is open; whether it is there."""
        inside = _INSIDE_STRING.match(self.buffer, self.at)
        self.at = inside.end() if inside else self.at
        if self.buffer[self.at : self.at + 1] == b'"':
            self.at += 1
            self._in_string = False
        return not self._in_string
