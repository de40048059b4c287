"""Waiting a little longer after each failure in a row, never in step with others."""

from __future__ import annotations

import asyncio
import random


class Backoff:
    """Exponential back-off with jitter, bounded; `reset` after a success."""

    def __init__(self, *, first_seconds: float = 0.05, most_seconds: float = 1.0) -> None:
        self._first_seconds = first_seconds
        self._most_seconds = most_seconds
        self._failures = 0

    def reset(self) -> None:
        """Forget the failures."""
        self._failures = 0

    async def wait(self) -> None:
        """Sleep for the next, longer time."""
        bound = min(self._most_seconds, self._first_seconds * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        await asyncio.sleep(random.uniform(bound / 2, bound))  # noqa: S311 - jitter, not a secret
