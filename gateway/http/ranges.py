"""`Range` and `If-Range` (RFC 9110, 13.1.5 and 14): one range of bytes, so that a download can be taken up again.

What is no range, or more than one, is ignored, as the standard allows; the whole file is an answer to that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from aiohttp import web

from jan.storage.v1 import files_pb2

# Beyond the end of every file, and within 64 bits together with its like.
_FAR = 1 << 60
_RANGE = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)", re.ASCII | re.IGNORECASE)
_STRONG_TAG = re.compile(r'"([\x21\x23-\x7e]*)"', re.ASCII)


@dataclass(frozen=True, slots=True)
class Range:
    """One range of bytes that was asked for.

    first: its first byte; None for the last `last` bytes. last: its last byte; None for the end of the file.
    if_revision: the only state of the file that it is asked for of; empty for any.
    """

    first: int | None
    last: int | None
    if_revision: str = ""

    @classmethod
    def read(cls, request: web.Request) -> Self | None:
        """What a request asks for; None for the whole file."""
        values = request.headers.getall("Range", [])
        match = _RANGE.fullmatch(values[0].strip()) if len(values) == 1 and request.method == "GET" else None
        if match is None or not any(match.groups()):
            return None
        first, last = (_number(digits) for digits in match.groups())
        if first is not None and last is not None and last < first:
            return None
        condition = request.headers.get("If-Range")
        if condition is None:
            return cls(first, last)
        # A date or a weak tag names no state that we know.
        tag = _STRONG_TAG.fullmatch(condition.strip())
        return cls(first, last, tag[1]) if tag and tag[1] else None

    def to_proto(self) -> files_pb2.ByteRange:
        """As storage is asked for it."""
        if self.first is None:
            return files_pb2.ByteRange(offset=-(self.last or 0), if_revision=self.if_revision)
        length = 0 if self.last is None else self.last - self.first + 1
        return files_pb2.ByteRange(offset=self.first, length=length, if_revision=self.if_revision)

    def of(self, size_bytes: int, revision: str) -> range | None:
        """Its bytes in a file; an empty range when it has none of them, None for the whole file."""
        if self.if_revision not in ("", revision):
            return None
        if self.first is not None:
            return range(self.first, size_bytes if self.last is None else min(self.last + 1, size_bytes))
        # The last bytes of an empty file are all of it, for which there is no range to name.
        return range(max(size_bytes - (self.last or 0), 0), size_bytes) if size_bytes or not self.last else None


def _number(digits: str) -> int | None:
    if not digits:
        return None
    return min(int(digits), _FAR) if len(digits) < 19 else _FAR
