"""Server-sent events as engines send them: bytes in any pieces, the data of whole events out."""

from __future__ import annotations

DONE = b"[DONE]"
"""The data of the last event of an OpenAI stream."""


class EventReader:
    """Splits one stream into the data of its events (WHATWG HTML, section 9.2).

    OpenAI's streams carry each event's data on one line, so a line is an event; comments and other fields are skipped.
    """

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of every event line that is now whole."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]
