"""Keeps what the store remembers in step with its files, in a thread of its own."""

import threading
import time
from collections.abc import Callable

from jan.errors import JanError
from jan.telemetry import get_logger
from storage_service.search import Search
from storage_service.store.atomic import DiskFailedError
from storage_service.store.store import Store
from storage_service.watch import Watch

logger = get_logger(__name__)

_TURN_SECONDS = 0.25
_SAVE_SECONDS = 60.0
# A pass over all threads takes 10 us each; it is repeated so that it costs a fortieth of the time at most.
_REST_SECONDS = 1.0
_REST_PER_PASS = 40


class Keeper:
    """Visits the threads that changed, all of them from time to time, and saves what the next start wants to know.

    A change by hand is seen within a second in a janroot of a few thousand threads. In a larger one that takes the
    kernel's help: `watch`.
    """

    def __init__(
        self, store: Store, search: Search, on_disk_failure: Callable[[DiskFailedError], None], *, watch: bool
    ) -> None:
        self._store = store
        self._search = search
        store.census.on_messages = search.note
        self._on_disk_failure = on_disk_failure
        self._watch = Watch(store.threads.home) if watch else None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="keeper")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, at the next thread that would be visited."""
        self._stopping.set()
        self._thread.join()
        if self._watch is not None:
            self._watch.stop()

    def _work(self) -> None:
        next_pass = next_save = time.monotonic()
        while not self._stopping.is_set():
            try:
                if self._watch is not None:
                    self._watch.start()
                    self._store.census.visit_each(self._watch.changed())
                    if self._watch.began():
                        next_pass = time.monotonic()
                if time.monotonic() >= next_pass:
                    next_pass = time.monotonic() + _SAVE_SECONDS  # should it fail
                    next_pass = time.monotonic() + self._pass()
                if time.monotonic() >= next_save:
                    next_save = time.monotonic() + _SAVE_SECONDS
                    self._store.save_indexes()
            except DiskFailedError as error:
                self._on_disk_failure(error)
            except (OSError, JanError):
                logger.exception("looking at the threads failed; trying again")
            self._stopping.wait(_TURN_SECONDS)

    def _pass(self) -> float:
        """Visit all threads; answers for how long to rest then."""
        began = time.monotonic()
        self._store.census.visit_all(wanted=lambda: not self._stopping.is_set())
        self._search.compare(self._store.census.messages())
        return max(_REST_SECONDS, _REST_PER_PASS * (time.monotonic() - began))
