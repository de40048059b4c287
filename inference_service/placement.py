"""Which model makes room for another. A pure function of what is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Loaded:
    """One loaded model: how many jobs use it, and when one last did (monotonic seconds)."""

    model_id: str
    users: int
    last_used: float


def victim(loaded: Sequence[Loaded]) -> str | None:
    """The model to unload to make room; None when all are at work.

    The least recently used of those without work.
    """
    idle = [model for model in loaded if model.users == 0]
    return min(idle, key=lambda model: model.last_used).model_id if idle else None
