"""Finding chunks: keeps the index of a vector store in step with its files, and asks it."""

import os
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from jan.errors import UnavailableError
from jan.ids import FileId, VectorStoreId
from jan.telemetry import get_logger
from storage_service.store import index_file, layout, log, signature
from storage_service.store.records import JsonObject
from storage_service.store.vector_stores import filters, fusion
from storage_service.store.vector_stores.files import StoreFiles
from storage_service.store.vector_stores.fusion import Weights
from storage_service.store.vector_stores.index import ChunkIndex, Hit
from storage_service.store.vector_stores.nearest import Chunks, Vectors
from storage_service.store.vector_stores.records import Embedder, FileStatus, Found, StoreFile
from storage_service.store.vector_stores.stores import VectorStores
from storage_service.store.vector_stores.vectors import Rows

logger = get_logger(__name__)

MAX_RESULTS = 50
_CHANGES_PER_COMMIT = 100
# Of each ranking, before the two become one: a chunk may be far behind in one of them.
_RANKED = 2 * MAX_RESULTS

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for: any of the queries, in files that a filter lets through, at least so good a chunk.

    vectors: of each query, made by `embedder`; empty to go by words alone.
    """

    queries: Sequence[str]
    filters: JsonObject | None = None
    limit: int = 10
    least_score: float = 0.0
    embedder: Embedder | None = None
    vectors: Sequence[Rows] = ()
    weights: Weights = field(default_factory=Weights)


@dataclass(frozen=True, slots=True)
class Ranking:
    """What was found, the best first, among how many chunks; and how many of those were ranked by vectors too."""

    found: Sequence[Found]
    chunks: int
    with_vectors: int


@dataclass(frozen=True, slots=True)
class _Looked:
    """Where a search looks. near: the files of which chunks have vectors that can be compared with the queries'."""

    near: Sequence[Chunks]
    chunks: int
    with_vectors: int


class ChunkSearch:
    """Search in vector stores; one store is asked by one at a time. An index that cannot be used is made anew."""

    def __init__(self, where: layout.Layout, stores: VectorStores, files: StoreFiles, vectors: Vectors) -> None:
        self._layout = where
        self._stores = stores
        self._files = files
        self._vectors = vectors
        self._locks: defaultdict[VectorStoreId, threading.Lock] = defaultdict(threading.Lock)
        self.on_chunks: Callable[[VectorStoreId], None] = lambda _: None
        """Hears of every store that may have chunks without vectors."""

    def search(self, store_id: VectorStoreId, wanted: Wanted) -> Ranking:
        """The chunks that match, the best first. Files that are still being processed are not looked into.

        Raises NotFoundError; FailedPreconditionError: the store has expired. InvalidArgumentError: a bad filter.
        """
        self._begin(store_id, wanted)
        completed = self._completed(store_id)
        files = {file.id: file for file in completed if filters.matches(wanted.filters, file.attributes)}
        hits, looked = self._with_index(
            store_id, completed, lambda index: self._best(store_id, index, wanted, list(files))
        )
        found = [*self._read(store_id, hits, files, by_meaning=bool(looked.near))]
        return Ranking(found, looked.chunks, looked.with_vectors)

    def with_chunks(self, store_id: VectorStoreId, work: Callable[[ChunkIndex, Sequence[Chunks]], Result]) -> Result:
        """Do something with the index of a store, in step with its files, and with what chunks it has.

        Raises NotFoundError; FailedPreconditionError: the store has expired. UnavailableError.
        """
        self._stores.usable(store_id)
        files = self._completed(store_id)
        ids = [file.id for file in files]
        return self._with_index(store_id, files, lambda index: work(index, self._chunks(store_id, index, ids)))

    def texts(self, store_id: VectorStoreId, file_id: FileId, spans: Sequence[tuple[int, int]]) -> list[str]:
        """What lies at these bytes of a file's text."""
        with log.reading(self._files.text(store_id, file_id)) as fd:
            return [
                os.pread(fd, stop - start, start).decode("utf-8", "replace") if fd >= 0 else "" for start, stop in spans
            ]

    def refresh(self, store_id: VectorStoreId) -> None:
        """Bring the index in step with the files; that of a store that is gone is removed."""
        if self._layout.vector_store(store_id).is_dir():
            self._with_index(store_id, self._completed(store_id), lambda _: None)
        else:
            with self._locks[store_id]:
                index_file.remove(self._layout.chunk_index(store_id))

    def sweep(self, stores: Iterable[VectorStoreId]) -> None:
        """Remove the indexes of stores that are gone. Only at start."""
        kept = {self._layout.chunk_index(store_id).name for store_id in stores}
        for path in self._layout.chunk_indexes.iterdir():
            if path.suffix == ".sqlite" and path.name not in kept:
                index_file.remove(path)

    def _begin(self, store_id: VectorStoreId, wanted: Wanted) -> None:
        """Note that the store is in use; and when its model's vectors have other dimensions by now, that, too."""
        store = self._stores.usable(store_id)
        self._stores.touch(store_id)
        if wanted.embedder is not None and wanted.embedder == store.embedder and wanted.vectors:
            # With every chunk embedded, nothing else would ever tell.
            self._stores.settle(store_id, wanted.embedder, len(wanted.vectors[0]))

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
                if index_file.is_passing(error):
                    raise UnavailableError("The index cannot be written now.", retry_after_seconds=5) from error
                logger.warning("index of a vector store thrown away", store=store_id, reason=str(error))
                index_file.remove(self._layout.chunk_index(store_id))
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
        if changes:
            self.on_chunks(store_id)
        index.commit()

    def _text_of(self, store_id: VectorStoreId, file: StoreFile) -> str:
        with log.reading(self._files.text(store_id, file.id)) as fd:
            data = os.pread(fd, os.fstat(fd).st_size, 0) if fd >= 0 else b""
        return data.decode("utf-8", "replace")

    def _read(
        self, store_id: VectorStoreId, hits: Sequence[Hit], files: dict[FileId, StoreFile], *, by_meaning: bool
    ) -> Iterator[Found]:
        for hit in hits:
            [text] = self.texts(store_id, hit.file_id, [(hit.start, hit.stop)])
            if text:
                yield Found(files[hit.file_id], text, hit.score, by_meaning)

    def _best(
        self, store_id: VectorStoreId, index: ChunkIndex, wanted: Wanted, files: Sequence[FileId]
    ) -> tuple[list[Hit], _Looked]:
        """The best chunks for any of the queries, each once with its best score; and where they were looked for."""
        looked = self._looked(store_id, index, wanted, files)
        best: dict[tuple[str, int], Hit] = {}
        for number, query in enumerate(wanted.queries):
            if looked.near:
                meaning = self._near(index, wanted, wanted.vectors[number], looked.near)
                hits = fusion.fuse(index.search(query, files, _RANKED), meaning, wanted.weights)
            else:
                hits = index.search(query, files, wanted.limit)
            for hit in hits:
                place = hit.file_id, hit.start
                if place not in best or best[place].score < hit.score:
                    best[place] = hit
        ranked = sorted(best.values(), key=lambda hit: -hit.score)
        return [hit for hit in ranked if hit.score >= wanted.least_score][: wanted.limit], looked

    def _looked(self, store_id: VectorStoreId, index: ChunkIndex, wanted: Wanted, files: Sequence[FileId]) -> _Looked:
        every = self._chunks(store_id, index, files)
        chunks = sum(each.count for each in every)
        embedder = wanted.embedder
        if embedder is None or len(wanted.vectors) != len(wanted.queries) or not wanted.weights.meaning:
            return _Looked([], chunks, 0)
        counts = [self._vectors.count(each, embedder, len(wanted.vectors[0])) for each in every]
        if sum(counts) < chunks:
            self.on_chunks(store_id)
        return _Looked([each for each, count in zip(every, counts, strict=True) if count], chunks, sum(counts))

    def _near(self, index: ChunkIndex, wanted: Wanted, query: Rows, chunks: Sequence[Chunks]) -> list[Hit]:
        if wanted.embedder is None:
            return []
        hits = []
        for near in self._vectors.nearest(chunks, wanted.embedder, query, _RANKED):
            for start, stop in index.spans(near.file_id, near.place, 1):
                hits.append(Hit(near.file_id, start, stop, min(max(near.similarity, 0.0), 1.0)))
        return hits

    def _chunks(self, store_id: VectorStoreId, index: ChunkIndex, files: Iterable[FileId]) -> list[Chunks]:
        contents = index.contents()
        return [
            Chunks(file_id, self._files.vectors(store_id, file_id), *contents[file_id])
            for file_id in files
            if file_id in contents
        ]
