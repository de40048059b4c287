"""A run that Redis forgot in the middle is answered anew: when a stream of it may go on with the new answer."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from jan.queue.follower import LogEntry

ALIKE = 2
"""The events that every telling of a round begins with alike: that it is there, and that it is queued."""
# Nothing of an answer is told in more events than these.
_MOST_EVENTS = 64


class Told:
    """What a stream has told of a round, as long as that is nothing of the answer.

    Then another telling that begins with the same events, of the same objects, may be gone on with behind them.
    """

    def __init__(self, after: int) -> None:
        """after: the number of the last event that the client had before."""
        self.number = after
        self._marks: list[bytes] | None = [b""] * after if after <= ALIKE else None

    def add(self, batch: Sequence[LogEntry]) -> None:
        """These were told."""
        self.number = batch[-1].number
        for entry in batch:
            mark = None if self._marks is None or len(self._marks) >= _MOST_EVENTS else _mark(entry.payload)
            if self._marks is None or mark is None:
                self._marks = None
                return
            self._marks.append(mark)

    @property
    def may_go_on(self) -> bool:
        """Whether nothing of the answer was told."""
        return self._marks is not None

    def continued_by(self, batch: Sequence[LogEntry]) -> list[LogEntry] | None:
        """What of another telling is to be told; None when it does not begin as this one did."""
        for entry in batch:
            if entry.number <= self.number:
                mark = self._marks[entry.number - 1] if self._marks is not None else None
                if mark is None or mark not in (b"", _mark(entry.payload)):
                    self._marks = None  # there is nothing that could be gone on with
                    return None
        return [entry for entry in batch if entry.number > self.number]


def _mark(frame: bytes) -> bytes | None:
    """An event's name and its object's id; None for one that tells a part of the answer, or an end."""
    head, _, data = frame.partition(b"\ndata: ")
    if not head.startswith(b"event: thread.") or head.endswith(b".delta"):
        return None
    return head + b" " + str(orjson.loads(data).get("id")).encode()
