"""The wall clock, as a value that tests can replace, and when it is believed that a time is over."""

import time
from collections.abc import Callable, Iterable

Clock = Callable[[], int]
"""Milliseconds since 1970, UTC. It may jump: nothing but displayed times is decided by it."""

Stopwatch = Callable[[], float]
"""Seconds since some moment; it never jumps."""

# A little less than the hour after which `server.tidy_for_ever` looks again.
APART_SECONDS = 3500.0


def wall_clock_ms() -> int:
    """The host's clock."""
    return time.time_ns() // 1_000_000


class TwoLooks:
    """Believes that something's time is over when two looks say so that are an hour apart by a clock that cannot jump.

    A wall clock that jumps a year ahead for a while must not remove what people may still want back. Whatever is not
    over at a look in between begins anew, and so does everything when the service starts.
    """

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch
        self._first: dict[str, float] = {}

    def confirmed(self, over: Iterable[str]) -> list[str]:
        """Of the names whose time is over by the wall clock those of which that is believed. Every call is a look."""
        now = self._stopwatch()
        self._first = {name: self._first.get(name, now) for name in over}
        return [name for name, first in self._first.items() if now - first >= APART_SECONDS]
