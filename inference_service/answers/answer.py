"""What the readers of an engine's answer have in common, and those that stand between an engine and another reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from inference_service.answers.shapes import Usage


class Answer(Protocol):
    """What `ChunkStream` and `WholeAnswer` have in common."""

    @property
    def usage(self) -> Usage:
        """The tokens read and written so far."""

    def feed(self, chunk: Mapping[str, Any]) -> list[bytes]:
        """Take in one engine chunk; what may be said now."""

    def end(self) -> list[bytes]:
        """What is said last."""

    @property
    def complete(self) -> bool:
        """Whether every choice has ended."""

    @property
    def finish_reason(self) -> str:
        """Why the first choice ended."""


class PassedOn:
    """An answer that is told to `inner`, whatever `feed` makes of its chunks before."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Answer) -> None:
        self._inner = inner

    @property
    def usage(self) -> Usage:
        """See `Answer.usage`."""
        return self._inner.usage

    def end(self) -> list[bytes]:
        """See `Answer.end`."""
        return self._inner.end()

    @property
    def complete(self) -> bool:
        """See `Answer.complete`."""
        return self._inner.complete

    @property
    def finish_reason(self) -> str:
        """See `Answer.finish_reason`."""
        return self._inner.finish_reason
