"""The wall clock, as a value that tests can replace."""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Milliseconds since 1970, UTC. It may jump: nothing but displayed times is decided by it."""


def wall_clock_ms() -> int:
    """The host's clock."""
    return time.time_ns() // 1_000_000
