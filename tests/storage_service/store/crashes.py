"""Dying at a chosen call: every change of the disk is counted, and the n-th does not return.

What was done before it stays, as after SIGKILL; what the code would do to tidy up is not done, because from then on
every further change dies too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import pytest

CALLS = ("open", "write", "fsync", "rename", "replace", "mkdir", "rmdir", "unlink", "ftruncate")


class Crash(BaseException):
    """The process died."""


class CrashPoint:
    """Dies at its call, and tells afterwards whether it was reached."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._patch = pytest.MonkeyPatch()
        self.calls = 0

    @property
    def reached(self) -> bool:
        return self.calls >= self._number

    def __enter__(self) -> Self:
        for name in CALLS:
            self._patch.setattr(os, name, self._counted(getattr(os, name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._patch.undo()

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.reached:
                raise Crash
            return call(*args, **kwargs)

        return counted


def crash_points() -> Iterator[CrashPoint]:
    """A crash at the first call, then at the second, and so on, until the work is done before it."""
    number = 1
    while True:
        point = CrashPoint(number)
        yield point
        if not point.reached:
            return
        number += 1
