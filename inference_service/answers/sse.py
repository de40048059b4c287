"""Server-sent events as engines send them: bytes in any pieces, the data of whole events out."""

from __future__ import annotations

from typing import Final

from jan.errors import InternalError

DONE = b"[DONE]"
"""The data of the last event of an OpenAI stream."""

MAX_LINE_BYTES: Final = 8 * 1024 * 1024
"""The longest event that is waited for: far more than a token with all its log probabilities, or a call's arguments."""


class EventReader:
    """Splits one stream into the data of its events (WHATWG HTML, section 9.2).

    OpenAI's streams carry each event's data on one line, so a line is an event; comments and other fields are skipped.
    A line that comes in many pieces is put together once, at its end.
    """

    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of every event line that is now whole. Raises InternalError: one goes on past MAX_LINE_BYTES."""
        if b"\n" not in piece:
            self._keep(piece)
            return []
        *lines, rest = b"".join((*self._pieces, piece)).split(b"\n")
        self._pieces, self._size = [], 0
        self._keep(rest)
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > MAX_LINE_BYTES:
            raise InternalError(f"The engine said one event of more than {MAX_LINE_BYTES:,} bytes.")
        if piece:
            self._pieces.append(piece)
