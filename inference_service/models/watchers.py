"""Those who watch the models of this host: each gets every change, or is let go when it lags too far behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from inference_service.models.model import ModelStatus

_MOST_WATCHED = 1_000  # changes that a watcher may lag behind

Watch = asyncio.Queue[ModelStatus | None]


class Watchers:
    """Everybody who watches now."""

    def __init__(self) -> None:
        """Nobody watches yet."""
        self._watches: set[Watch] = set()
        self._leaving = False

    @contextmanager
    def watching(self, statuses: Sequence[ModelStatus]) -> Iterator[Watch]:
        """`statuses` first, then each change as it happens.

        None comes at the end of the service, and to a watcher that lags too far behind.
        """
        watch: Watch = asyncio.Queue(_MOST_WATCHED + len(statuses))
        self._watches.add(watch)
        for status in statuses:
            watch.put_nowait(status)
        if self._leaving:
            self._dismiss(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    def tell(self, status: ModelStatus) -> None:
        """A model has changed."""
        for watch in list(self._watches):
            try:
                watch.put_nowait(status)
            except asyncio.QueueFull:
                self._dismiss(watch)

    def dismiss_all(self) -> None:
        """Let those go who watch, and those who come: the service is about to end."""
        self._leaving = True
        for watch in list(self._watches):
            self._dismiss(watch)

    def _dismiss(self, watch: Watch) -> None:
        self._watches.discard(watch)
        if watch.full():
            watch.get_nowait()
        watch.put_nowait(None)
