"""How much a JSON body may hold, counted before it is parsed: nobody else is heard while that goes on (S35).

1.5 million names of fields in 17 MiB took the parser 1.6 s. What is within the bounds takes it a sixth of that.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from jan.errors import InvalidArgumentError
from jan.json_scan import JsonScan

# Others have their turn after so much, which may be all marks.
_PIECE_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many there may be: names of fields, objects and as many lists, values behind each other."""

    names: int
    nested: int
    values: int

    def by_mark(self) -> dict[int, tuple[int, str]]:
        """The bounds, and what they are of, by the character that each of them is counted by."""
        return {
            ord(":"): (self.names, "names of fields"),
            ord("{"): (self.nested, "objects"),
            ord("["): (self.nested, "lists"),
            ord(","): (self.values, "values"),
        }


OF_REQUESTS: Final = Bounds(names=250_000, nested=100_000, values=500_000)
"""2048 messages of twelve parts, 128 tools of 700 names, or an answer sent back with twenty alternatives for each of
3900 tokens; more tokens than OpenAI embeds in one request (300,000)."""


async def check_countable(data: bytes, bounds: Bounds = OF_REQUESTS) -> None:
    """Look at JSON before it is parsed; of what is none, as far as a parser would read.

    Texts hold the same characters, so where there are many of them all is read, a piece at a time, with turns for
    others in between. Raises InvalidArgumentError: it holds more than any request needs.
    """
    by_mark = bounds.by_mark()
    if all(data.count(mark) <= most for mark, (most, _) in by_mark.items()):
        return
    scan, counts = JsonScan(bytes(by_mark)), dict.fromkeys(by_mark, 0)
    for start in range(0, len(data), _PIECE_BYTES):
        scan.buffer += data[start : start + _PIECE_BYTES]
        for place in scan.marks():
            mark = scan.buffer[place]
            counts[mark] += 1
            if counts[mark] > by_mark[mark][0]:
                most, what = by_mark[mark]
                message = f"The JSON body of your request holds more than {most} {what}; send less at a time."
                raise InvalidArgumentError(message, code="request_too_complex")
        scan.forget(scan.at)
        await asyncio.sleep(0)
