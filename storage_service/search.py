"""Search as the service does it: one thread that keeps the index up to date, one that asks it.

Writers only leave a note, so nobody who is waiting for an acknowledgement waits for SQLite.
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from jan.errors import InvalidArgumentError
from jan.ids import ThreadId
from jan.telemetry import get_logger
from storage_service.store import index_file, layout
from storage_service.store.paging import Page, PageQuery, cut
from storage_service.store.records import Appended
from storage_service.store.search import Hit, SearchIndex, stale
from storage_service.store.store import Store

logger = get_logger(__name__)

# Notes are taken in together: a commit costs as much as many messages.
_TURN_SECONDS = 0.2
_UPDATES_PER_COMMIT = 500
# Beyond so many the texts are forgotten and the files read instead.
_MAX_NOTES = 10_000
# After a thread's file was read others get the interpreter; see `Census`.
_BREATH_SECONDS = 0.0005
_RETRY_SECONDS = 5.0


class Search:
    """The index of one store, `.server/index/search.sqlite`. Nothing in it is needed: broken, it is made anew."""

    def __init__(self, store: Store) -> None:
        self._layout = store.layout
        self._path = store.layout.index / "search.sqlite"
        self._lock = threading.Lock()
        self._notes: list[tuple[ThreadId, Appended | None]] = []
        # Threads beyond the notes: each once, their files are read.
        self._noted: dict[ThreadId, None] = {}
        self._files: Mapping[ThreadId, int] = {}
        self._compare = False
        self._stopping = threading.Event()
        self._worker = threading.Thread(target=self._work, name="search index")
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="search")
        self._reader: SearchIndex | None = None
        # Counts the times that the worker gave its file up: a reader follows it to the new one.
        self._generation = 0
        self._reader_generation = 0
        store.messages.on_change = self.note

    def start(self) -> None:
        """Begin to take notes in."""
        self._worker.start()

    def stop(self) -> None:
        """End; what was noted and not taken in is found at the next start."""
        self._stopping.set()
        self._worker.join()
        self._asking.shutdown()
        self._close_reader()

    def note(self, thread_id: ThreadId, appended: Appended | None = None) -> None:
        """A thread's messages changed: by this append, or in a way that only the file tells."""
        with self._lock:
            if len(self._notes) >= _MAX_NOTES:
                self._noted[thread_id] = None
                return
            self._notes.append((thread_id, appended))

    def compare(self, files: Mapping[ThreadId, int]) -> None:
        """Find out what was missed: the digest of every thread's messages.jsonl, as they were seen just now."""
        with self._lock:
            self._files = files
            self._compare = True

    async def page(self, query: str, page: PageQuery) -> Page[Hit]:
        """A page of the threads that match, the best first: `page.descending` has no meaning here.

        Raises InvalidArgumentError: see `paging.cut`; a cursor is a thread that matches.
        """
        return await asyncio.get_running_loop().run_in_executor(self._asking, self._page, query, page)

    def _page(self, query: str, page: PageQuery) -> Page[Hit]:
        try:
            reader = self._open_reader()
            hits = reader.search(query)
            places: dict[str, int] = {hit.thread_id: place for place, hit in enumerate(hits)}
            found = cut(hits, replace(page, descending=False), places.get)
            items = tuple(replace(hit, snippet=reader.snippet(query, hit)) for hit in found.items)
            return Page(items, found.has_more)
        except sqlite3.Error as error:
            logger.warning("search found nothing: its index is not there yet", reason=str(error))
            self._close_reader()
            return Page((), has_more=False)

    def _open_reader(self) -> SearchIndex:
        with self._lock:
            generation = self._generation
        if self._reader is None or generation != self._reader_generation:
            self._close_reader()
            self._reader = SearchIndex(self._path, read_only=True)
            self._reader_generation = generation
        return self._reader

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _work(self) -> None:
        index: SearchIndex | None = None
        while not self._stopping.is_set():
            try:
                index = index or SearchIndex(self._path)
                self._take_in(index)
                index.commit()
            except sqlite3.Error as error:
                if index is not None:
                    index.close()
                    index = None
                self._recover(error)
            except OSError:
                logger.exception("reading messages for the search index failed; trying again")
            self._stopping.wait(_TURN_SECONDS)
        if index is not None:
            index.close()

    def _recover(self, error: sqlite3.Error) -> None:
        """After a full or failing disk try again later; an index in any other trouble is thrown away."""
        if index_file.is_passing(error):
            logger.warning("search index not written; trying again", reason=str(error))
            self._stopping.wait(_RETRY_SECONDS)
        else:
            logger.warning("search index thrown away: it is made anew", reason=str(error))
            index_file.remove(self._path)
        with self._lock:
            self._generation += 1
            self._compare = True

    def _take_in(self, index: SearchIndex) -> None:
        with self._lock:
            notes, self._notes = self._notes, []
            changed, self._noted = self._noted, {}
            compare, self._compare = self._compare, False
            files = self._files
        for thread_id, appended in notes:
            if appended is None or not index.append(thread_id, appended):
                changed[thread_id] = None
        if compare:
            changed |= dict.fromkeys(stale(index.digests(), files))
        for number, thread_id in enumerate(changed, 1):
            if self._stopping.is_set():
                return
            index.update(thread_id, self._file(thread_id))
            time.sleep(_BREATH_SECONDS)
            if number % _UPDATES_PER_COMMIT == 0:
                index.commit()

    def _file(self, thread_id: ThreadId) -> Path:
        """A thread's messages; for a folder that became a link a file that is not there."""
        try:
            return self._layout.thread(thread_id) / layout.MESSAGES_FILE
        except InvalidArgumentError:
            return self._path.with_name("nothing")
