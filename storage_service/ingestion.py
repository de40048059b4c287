"""Takes text out of the files of vector stores and keeps the indexes in step, in threads of its own.

What is to be done is written in the stores' own files, so a start finds it again, and nothing here need survive.
"""

import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from jan.errors import InvalidArgumentError, JanError, NotFoundError
from jan.ids import FileId, VectorStoreId
from jan.telemetry import get_logger
from storage_service.extraction.errors import ExtractionError, InvalidFileError
from storage_service.extraction.extract import StoppedError, extract
from storage_service.store.atomic import DiskFailedError
from storage_service.store.files import OpenFile
from storage_service.store.store import Store
from storage_service.store.vector_stores.records import FileStatus, StoreFile

logger = get_logger(__name__)

# One large PDF must not keep everybody's notes waiting.
_WORKERS = 2
# After a full disk, or a file system in trouble.
_RETRY_SECONDS = 5.0


class Ingestion:
    """The workers over one store."""

    def __init__(self, store: Store, on_disk_failure: Callable[[DiskFailedError], None]) -> None:
        self._store = store
        self._files = store.vector_store_files
        self._on_disk_failure = on_disk_failure
        self._stopping = threading.Event()
        # Each store once; None wakes a worker up to leave.
        self._due: queue.SimpleQueue[VectorStoreId | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting: set[VectorStoreId] = set()
        # What a look at a store found, so that each of thousands of files needs no look of its own.
        self._found: dict[VectorStoreId, deque[StoreFile]] = {}
        self._taken: set[tuple[VectorStoreId, FileId]] = set()
        self._threads = [threading.Thread(target=self._work, name=f"ingestion {n}") for n in range(_WORKERS)]
        self._files.on_change = self.note

    def start(self) -> None:
        """Begin, with all stores: what the last process left, and what changed since."""
        try:
            self._look_around()
        except (JanError, OSError):
            logger.exception("the vector stores cannot be looked at")  # no reason not to serve everything else
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End soon; files under way are read anew at the next start."""
        self._stopping.set()
        for _ in self._threads:
            self._due.put(None)
        for thread in self._threads:
            thread.join()

    def note(self, store_id: VectorStoreId) -> None:
        """The files of a store changed."""
        with self._lock:
            if store_id not in self._waiting:
                self._waiting.add(store_id)
                self._due.put(store_id)

    def _look_around(self) -> None:
        stores = self._store.vector_stores.ids()
        self._store.chunk_search.sweep(stores)
        for store_id in stores:
            self._files.sweep(store_id)
            self.note(store_id)

    def _work(self) -> None:
        while (store_id := self._due.get()) is not None and not self._stopping.is_set():
            with self._lock:
                self._waiting.discard(store_id)
            try:
                self._advance(store_id)
            except StoppedError:
                return
            except DiskFailedError as error:
                self._on_disk_failure(error)
            except InvalidArgumentError as error:  # its folder became a link
                logger.warning("a vector store is left alone", reason=error.message)
            except (JanError, OSError, sqlite3.Error):
                logger.exception("the files of a vector store wait; trying again", store=store_id)
                self._stopping.wait(_RETRY_SECONDS)
                self.note(store_id)

    def _advance(self, store_id: VectorStoreId) -> None:
        """Process one file; or, when none is left, bring the index in step. Stores take turns."""
        file = self._take(store_id)
        if file is None:
            self._store.chunk_search.refresh(store_id)
            return
        try:
            self.note(store_id)
            self._process(store_id, file)
        finally:
            with self._lock:
                self._taken.discard((store_id, file.id))
        self.note(store_id)

    def _take(self, store_id: VectorStoreId) -> StoreFile | None:
        """A file that nobody has taken; a look at the store's files once those of the last look are used up."""
        with self._lock:
            found = self._found.get(store_id)
        if not found:
            found = deque(file for file in self._files.all(store_id) if file.status is FileStatus.IN_PROGRESS)
        with self._lock:
            self._found[store_id] = found
            while found:
                file = found.popleft()
                if (store_id, file.id) not in self._taken:
                    self._taken.add((store_id, file.id))
                    return file
            del self._found[store_id]
        return None

    def _process(self, store_id: VectorStoreId, file: StoreFile) -> None:
        if not self._files.is_due(store_id, file):
            return
        try:
            text = self._text_of(file)
        except ExtractionError as error:
            failed = replace(
                file, status=FileStatus.FAILED, error_code=error.code, error_message=str(error), usage_bytes=0
            )
            self._files.settle(store_id, file, failed, "")
        else:
            self._files.settle(store_id, file, replace(file, status=FileStatus.COMPLETED), text)

    def _text_of(self, file: StoreFile) -> str:
        opened = OpenFile()
        try:
            self._store.files.open(file.id, opened)
            return extract(opened.fd, file.filename, self._stopping.is_set)
        except NotFoundError:
            raise InvalidFileError("The uploaded file is not there any more.") from None
        finally:
            opened.close()
