"""Finding chunks: keeps the index of a vector store in step with its files, and asks it."""

import os
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from jan.errors import UnavailableError
from jan.ids import FileId, VectorStoreId
from jan.telemetry import get_logger
from storage_service.store import layout, log, search, signature
from storage_service.store.records import JsonObject
from storage_service.store.vector_stores import filters
from storage_service.store.vector_stores.files import StoreFiles
from storage_service.store.vector_stores.index import ChunkIndex, Hit
from storage_service.store.vector_stores.records import FileStatus, Found, StoreFile
from storage_service.store.vector_stores.stores import VectorStores

logger = get_logger(__name__)

MAX_RESULTS = 50
_CHANGES_PER_COMMIT = 100

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for: any of the queries, in files that a filter lets through, at least so good a chunk."""

    queries: Sequence[str]
    filters: JsonObject | None = None
    limit: int = 10
    least_score: float = 0.0


class ChunkSearch:
    """Search in vector stores; one store is asked by one at a time. An index that cannot be used is made anew."""

    def __init__(self, where: layout.Layout, stores: VectorStores, files: StoreFiles) -> None:
        self._layout = where
        self._stores = stores
        self._files = files
        self._locks: defaultdict[VectorStoreId, threading.Lock] = defaultdict(threading.Lock)

    def search(self, store_id: VectorStoreId, wanted: Wanted) -> list[Found]:
        """The chunks that match, the best first. Files that are still being processed are not looked into.

        Raises NotFoundError; FailedPreconditionError: the store has expired. InvalidArgumentError: a bad filter.
        """
        self._stores.usable(store_id)
        self._stores.touch(store_id)
        completed = self._completed(store_id)
        files = {file.id: file for file in completed if filters.matches(wanted.filters, file.attributes)}
        hits = self._with_index(store_id, completed, lambda index: _best(index, wanted, files))
        return [*self._read(store_id, hits, files)]

    def refresh(self, store_id: VectorStoreId) -> None:
        """Bring the index in step with the files; that of a store that is gone is removed."""
        if self._layout.vector_store(store_id).is_dir():
            self._with_index(store_id, self._completed(store_id), lambda _: None)
        else:
            with self._locks[store_id]:
                search.remove(self._layout.chunk_index(store_id))

    def sweep(self, stores: Iterable[VectorStoreId]) -> None:
        """Remove the indexes of stores that are gone. Only at start."""
        kept = {self._layout.chunk_index(store_id).name for store_id in stores}
        for path in self._layout.chunk_indexes.iterdir():
            if path.suffix == ".sqlite" and path.name not in kept:
                search.remove(path)

    def _completed(self, store_id: VectorStoreId) -> list[StoreFile]:
        return [file for file in self._files.all(store_id) if file.status is FileStatus.COMPLETED]

    def _with_index(
        self, store_id: VectorStoreId, files: Sequence[StoreFile], work: Callable[[ChunkIndex], Result]
    ) -> Result:
        """Do something with the index in step with the files. Raises UnavailableError: it cannot be written now."""
        with self._locks[store_id]:
            try:
                with self._open(store_id, files) as index:
                    return work(index)
            except sqlite3.Error as error:
                if search.is_passing(error):
                    raise UnavailableError("The index cannot be written now.", retry_after_seconds=5) from error
                logger.warning("index of a vector store thrown away", store=store_id, reason=str(error))
                search.remove(self._layout.chunk_index(store_id))
                with self._open(store_id, files) as index:
                    return work(index)

    @contextmanager
    def _open(self, store_id: VectorStoreId, files: Sequence[StoreFile]) -> Iterator[ChunkIndex]:
        index = ChunkIndex(self._layout.chunk_index(store_id))
        try:
            self._take_in(store_id, index, files)
            yield index
        finally:
            index.close()

    def _take_in(self, store_id: VectorStoreId, index: ChunkIndex, files: Sequence[StoreFile]) -> None:
        known = index.digests()
        for file_id in known.keys() - {file.id for file in files}:
            index.drop(file_id)
        changes = 0
        for file in files:
            # Before the text is read: one that is written meanwhile is read once more.
            seen = signature.of_path(self._files.text(store_id, file.id))
            digest = f"{seen} {file.chunking.max_tokens} {file.chunking.overlap_tokens}"
            if known.get(file.id) != digest:
                index.put(file.id, digest, self._text_of(store_id, file), file.chunking)
                changes += 1
                if changes % _CHANGES_PER_COMMIT == 0:
                    index.commit()
        index.commit()

    def _text_of(self, store_id: VectorStoreId, file: StoreFile) -> str:
        with log.reading(self._files.text(store_id, file.id)) as fd:
            data = os.pread(fd, os.fstat(fd).st_size, 0) if fd >= 0 else b""
        return data.decode("utf-8", "replace")

    def _read(self, store_id: VectorStoreId, hits: Sequence[Hit], files: dict[FileId, StoreFile]) -> Iterator[Found]:
        for hit in hits:
            with log.reading(self._files.text(store_id, hit.file_id)) as fd:
                data = os.pread(fd, hit.stop - hit.start, hit.start) if fd >= 0 else b""
            if data:
                yield Found(files[hit.file_id], data.decode("utf-8", "replace"), hit.score)


def _best(index: ChunkIndex, wanted: Wanted, files: dict[FileId, StoreFile]) -> list[Hit]:
    """The best chunks for any of the queries, each once with its best score."""
    best: dict[tuple[str, int], Hit] = {}
    for query in wanted.queries:
        for hit in index.search(query, files.keys(), wanted.limit):
            place = hit.file_id, hit.start
            if place not in best or best[place].score < hit.score:
                best[place] = hit
    ranked = sorted(best.values(), key=lambda hit: -hit.score)
    return [hit for hit in ranked if hit.score >= wanted.least_score][: wanted.limit]
