"""Jobs that this host cannot serve: which errors mean that, and what it has given back to the queue for other hosts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from jan.errors import JanError

_NOT_HERE: Final = frozenset(
    {"insufficient_memory", "engine_unsupported", "engine_start_failed", "model_file_missing", "model_file_invalid"}
)
"""Codes of loads that may go well on another host."""

_REST_SECONDS: Final = 1.0
_TRUST_SECONDS: Final = 10.0
_MOST_REMEMBERED: Final = 1_000


def may_be_elsewhere(error: JanError) -> bool:
    """Whether another host may be able to load what this one could not."""
    return error.code in _NOT_HERE


class PassedOn:
    """What was given back. Its model rests here for a moment, so that others see the job first.

    A job that comes back all the same, because those who could serve it are busy, is given back without trying again.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Nothing was given back yet."""
        self._monotonic = monotonic
        self._rests: dict[str, float] = {}
        self._jobs: dict[str, tuple[float, JanError]] = {}

    def note(self, job_id: str, model_id: str, error: JanError) -> None:
        """A job was given back because of `error`."""
        now = self._monotonic()
        self._rests[model_id] = now + _REST_SECONDS
        known = self._jobs.pop(job_id, (now + _TRUST_SECONDS, error))
        self._jobs[job_id] = known
        while len(self._jobs) > _MOST_REMEMBERED:
            del self._jobs[next(iter(self._jobs))]

    def resting(self) -> set[str]:
        """The models whose jobs are left to other hosts for now."""
        now = self._monotonic()
        self._rests = {model_id: until for model_id, until in self._rests.items() if until > now}
        return set(self._rests)

    def why(self, job_id: str) -> JanError | None:
        """Why this job was given back a short time ago; None when it is worth trying."""
        until, error = self._jobs.get(job_id, (0.0, None))
        if self._monotonic() < until:
            return error
        self._jobs.pop(job_id, None)
        return None
