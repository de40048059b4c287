"""What is known of every thread's files, and which of them changed behind our back.

A start with a good snapshot serves at once what the snapshot says, and one without it what was found so far; either
way every folder is visited in the background, and again from time to time. Reading a thread never waits for that: it
goes to the thread's own files.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable
from itertools import chain

from jan.ids import ThreadId
from jan.telemetry import get_logger
from storage_service.store import layout, signature, snapshot
from storage_service.store.order import CreationOrder
from storage_service.store.snapshot import Files, Snapshot

logger = get_logger(__name__)

# A start waits for so many visits, 80 us each. Whoever has more threads is served while the rest is visited.
_VISITS_AT_START = 2_000
# A pass lets others at the interpreter's lock now and then: without it a page waits for tens of milliseconds.
_VISITS_AT_A_TIME = 50
_BREATH_SECONDS = 0.0005

_NAMES = (layout.THREAD_FILE, layout.MESSAGES_FILE, layout.RUNS_FILE)


class Census:
    """Visits threads. `note_runs` learns a thread's active runs from its file and tells whether there are any.

    `on_messages` hears of each thread whose messages.jsonl is not as it was at the last visit, new or gone ones too.
    """

    def __init__(
        self, where: layout.Layout, order: CreationOrder[ThreadId], note_runs: Callable[[ThreadId], bool]
    ) -> None:
        self._layout = where
        self._path = where.index / "threads"
        self._order = order
        self._note_runs = note_runs
        self.on_messages: Callable[[ThreadId], None] = _nobody
        self._lock = threading.Lock()
        self._files: dict[ThreadId, Files] = {}
        self._active: set[ThreadId] = set()
        self._changed = False

    def begin(self) -> None:
        """Take over what the last process knew, and visit as many threads as a start can wait for."""
        known = snapshot.load(self._path)
        self._order.restore(known.created)
        self._files = dict(known.files)
        for thread_id in known.active:
            self._revisit_runs(thread_id)
        self._order.notice()
        self.visit_each(self._order.folders()[:_VISITS_AT_START])

    def visit_all(self, wanted: Callable[[], bool] = lambda: True) -> None:
        """Visit every thread, the newest first, as long as that is wanted."""
        self._order.notice()
        folders = self._order.folders()
        gone = self._files.keys() - set(folders)
        for number, thread_id in enumerate(chain(folders, gone)):
            if number % _VISITS_AT_A_TIME == 0:
                if not wanted():
                    return
                time.sleep(_BREATH_SECONDS)
            self.visit(thread_id)

    def visit(self, thread_id: ThreadId) -> None:
        """Look at one thread's files, and read what changed since the last visit."""
        folder = f"{self._layout.threads}/{thread_id}"
        if thread_id in self._layout.nested and not os.path.lexists(folder):
            folder = str(self._layout.nested[thread_id])
        files = Files(*(signature.digest(signature.of_path(f"{folder}/{name}")) for name in _NAMES))
        if files == _NO_FILES:  # A thread of 2023 is a file, until it is changed.
            files = Files(signature.digest(signature.of_path(f"{folder}.json")), 0, 0)
        before = self._files.get(thread_id, _NO_FILES)
        if files == before != _NO_FILES or os.path.islink(folder):
            return
        with self._lock:
            self._changed = True
            if files == _NO_FILES:
                self._files.pop(thread_id, None)
            else:
                self._files[thread_id] = files
        if files.thread != before.thread or _NO_FILES in {files, before}:
            self._order.reread(thread_id)
        if files.runs != before.runs:
            self._revisit_runs(thread_id)
        if files.messages != before.messages:
            self.on_messages(thread_id)

    def visit_each(self, thread_ids: Iterable[ThreadId]) -> None:
        """Visit some threads."""
        for thread_id in thread_ids:
            self.visit(thread_id)

    def messages(self) -> dict[ThreadId, int]:
        """The digest of every thread's messages.jsonl, as it was at the last visit; threads without one left out."""
        with self._lock:
            return {thread_id: files.messages for thread_id, files in self._files.items() if files.messages}

    def save(self) -> None:
        """Leave a snapshot when something changed since the last one."""
        created = self._order.created()
        with self._lock:
            if not self._changed and created.keys() == self._files.keys():
                return
            self._changed = False
            known = Snapshot(created, dict(self._files), frozenset(self._active))
        snapshot.save(self._path, known)

    def _revisit_runs(self, thread_id: ThreadId) -> None:
        if self._note_runs(thread_id):
            self._active.add(thread_id)
        else:
            self._active.discard(thread_id)


_NO_FILES = Files(0, 0, 0)


def _nobody(_: ThreadId) -> None:
    """Hears of changed messages until the search index does."""
