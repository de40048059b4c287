"""Keeps what the store remembers in step with its files, in a thread of its own."""

import math
import threading
import time
from collections.abc import Callable

from jan.errors import JanError
from jan.ids import ThreadId
from jan.telemetry import get_logger
from storage_service.search import Search
from storage_service.store.atomic import DiskFailedError
from storage_service.store.clock import Stopwatch
from storage_service.store.store import Store
from storage_service.watch import Watch

logger = get_logger(__name__)

_TURN_SECONDS = 0.25
_SAVE_SECONDS = 60.0
# A pass over all threads takes 10 us each; it is repeated so that it costs a fortieth of the time at most, and less
# often where the kernel tells of every change.
_REST_SECONDS = 1.0
_TOLD_REST_SECONDS = 10.0
_REST_PER_PASS = 40
# One that fails is repeated as if it had taken so long: after a minute.
_FAILED_PASS_SECONDS = 1.5
# So many changes in a turn, and the kernel may have had more to tell than it keeps: look for so long yourself.
_MANY_CHANGES = 100
_UNCERTAIN_SECONDS = 5.0


class Keeper:
    """Visits the threads that changed, all of them from time to time, and saves what the next start wants to know.

    A change by hand is seen within a second in a janroot of a few thousand threads. In a larger one that takes the
    kernel's help: `watch`.
    """

    def __init__(
        self,
        store: Store,
        search: Search,
        on_disk_failure: Callable[[DiskFailedError], None],
        *,
        watch: bool,
        clock: Stopwatch = time.monotonic,
    ) -> None:
        self._store = store
        self._search = search
        store.census.on_messages = search.note
        self._on_disk_failure = on_disk_failure
        self._clock = clock
        self._watch = Watch(store.threads.home) if watch else None
        self._stopping = threading.Event()
        self._passed_at = -math.inf
        self._pass_seconds = 0.0
        self._uncertain_until = -math.inf
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
        next_save = self._clock()
        while not self._stopping.is_set():
            try:
                if self._watch is not None:
                    self._watch.start()
                    self._hear(self._watch.changed())
                    if self._watch.began():
                        self._passed_at = -math.inf
                if self._clock() >= self._passed_at + rest_seconds(self._pass_seconds, told=self._is_told()):
                    self._pass()
                if self._clock() >= next_save:
                    next_save = self._clock() + _SAVE_SECONDS
                    self._store.save_indexes()
            except DiskFailedError as error:
                self._on_disk_failure(error)
            except (OSError, JanError):
                logger.exception("looking at the threads failed; trying again")
            self._stopping.wait(_TURN_SECONDS)

    def _hear(self, changed: set[ThreadId]) -> None:
        """Visit what the watch told of."""
        if len(changed) >= _MANY_CHANGES:
            self._uncertain_until = self._clock() + _UNCERTAIN_SECONDS
        self._store.census.visit_each(changed)

    def _pass(self) -> None:
        """Visit all threads."""
        began = self._passed_at = self._clock()
        self._pass_seconds = _FAILED_PASS_SECONDS
        self._store.census.visit_all(wanted=lambda: not self._stopping.is_set())
        self._search.compare(self._store.census.messages())
        self._passed_at = self._clock()
        self._pass_seconds = self._passed_at - began

    def _is_told(self) -> bool:
        """Whether every change is told: the watch names top folders, which are not the threads inside others."""
        return (
            self._watch is not None
            and self._watch.tells_all()
            and not self._store.layout.nested
            and self._clock() > self._uncertain_until
        )


def rest_seconds(pass_seconds: float, *, told: bool) -> float:
    """How long after a pass over all threads the next one begins."""
    return max(_TOLD_REST_SECONDS if told else _REST_SECONDS, _REST_PER_PASS * pass_seconds)
