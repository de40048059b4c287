"""Who works at which download, and how fast it goes: known in memory alone, by a clock that never jumps."""

import threading
from collections import deque

from jan.errors import ConflictError
from jan.ids import PullId
from storage_service.store.clock import Stopwatch

CLAIM_SECONDS = 10.0
_SPEED_SECONDS = 5.0
# A shorter time says nothing of a speed.
_LEAST_SECONDS = 0.25


class Claims:
    """Claims of gateways on downloads; one that is not renewed for ten seconds ends. For one thread at a time."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch
        self._held: dict[PullId, tuple[str, float]] = {}

    def take(self, pull_id: PullId, holder: str) -> None:
        """Take or renew a claim. Raises ConflictError: another has it."""
        current = self.holder(pull_id)
        if current not in (None, holder):
            raise ConflictError(f"Another gateway works at {pull_id}.", code="pull_claimed")
        self._held[pull_id] = (holder, self._stopwatch() + CLAIM_SECONDS)

    def holder(self, pull_id: PullId) -> str | None:
        """Who has a download now."""
        holder, until = self._held.get(pull_id, ("", 0.0))
        return holder if holder and self._stopwatch() < until else None

    def end(self, pull_id: PullId) -> None:
        """Nobody has it any more."""
        self._held.pop(pull_id, None)


class Speed:
    """Bytes a second over the last five seconds. Safe to use from several threads."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch
        self._began: float | None = None
        self._seen: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()

    def note(self, count: int) -> None:
        """So many bytes have just come."""
        with self._lock:
            now = self._forget()
            self._began = now if self._began is None else self._began
            self._seen.append((now, count))

    def bytes_per_second(self) -> int:
        """The speed now."""
        with self._lock:
            now = self._forget()
            if self._began is None:
                return 0
            window = min(_SPEED_SECONDS, max(now - self._began, _LEAST_SECONDS))
            return int(sum(count for _, count in self._seen) / window)

    def _forget(self) -> float:
        now = self._stopwatch()
        while self._seen and self._seen[0][0] < now - _SPEED_SECONDS:
            self._seen.popleft()
        return now
