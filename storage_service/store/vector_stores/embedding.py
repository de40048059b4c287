"""Which chunks are still to be embedded, and keeping the vectors that come for them. Who embeds is not known here."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from jan.errors import JanError
from jan.ids import FileId, VectorStoreId
from jan.telemetry import get_logger
from storage_service.store.vector_stores import vectors
from storage_service.store.vector_stores.files import StoreFiles
from storage_service.store.vector_stores.index import ChunkIndex
from storage_service.store.vector_stores.nearest import Chunks, Vectors
from storage_service.store.vector_stores.records import Embedder
from storage_service.store.vector_stores.search import ChunkSearch
from storage_service.store.vector_stores.stores import VectorStores
from storage_service.store.vector_stores.vectors import Heading, Rows

logger = get_logger(__name__)

AT_A_TIME = 64
"""Chunks that are handed out together."""
# A chunk of 4,096 tokens has some 25 kB, but blanks without end are in nobody's count. No model reads more.
_MAX_TEXT_BYTES = 48 * 1024


@dataclass(frozen=True, slots=True)
class Unembedded:
    """Chunks of one file without vectors: the texts from the `first` on, and what they were cut from."""

    file_id: FileId
    content: str
    first: int
    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of such chunks."""

    file_id: FileId
    content: str
    first: int
    rows: Rows


@dataclass(frozen=True, slots=True)
class Progress:
    """How many chunks there are, and how many have a vector, as of the last look."""

    chunks: int
    embedded: int


@dataclass(frozen=True, slots=True)
class _Look:
    """What was found of vectors of a model; dimensions: 0 for any."""

    embedder: Embedder
    dimensions: int
    progress: Progress


class Embedding:
    """Hands out chunks and takes in vectors. Safe to use from several threads."""

    def __init__(self, stores: VectorStores, files: StoreFiles, search: ChunkSearch, held: Vectors) -> None:
        self._stores = stores
        self._files = files
        self._search = search
        self._vectors = held
        self._lock = threading.Lock()
        # Stores without anything to do for a model, until something in them changes.
        self._done: dict[VectorStoreId, Embedder] = {}
        self._looks: dict[VectorStoreId, _Look] = {}
        self._last: VectorStoreId | None = None
        search.on_chunks = self.note

    def note(self, store_id: VectorStoreId) -> None:
        """A store may have chunks without vectors."""
        with self._lock:
            self._done.pop(store_id, None)

    def next(self, embedder: Embedder) -> tuple[VectorStoreId, list[Unembedded]] | None:
        """Some chunks of one store; None when all there are have vectors. Stores take turns."""
        for store_id in self._due(embedder):
            with self._lock:
                # Before the look: what changes during it is looked at again.
                self._done[store_id] = embedder
            try:
                found = self._search.with_chunks(store_id, lambda i, c, s=store_id: self._look(s, embedder, i, c))  # type: ignore[misc]
            except (JanError, OSError) as error:  # it is gone, expired, or in trouble: that hides no other
                logger.debug("a vector store is not embedded", store=store_id, error=str(error))
                continue
            if found:
                self.note(store_id)
                self._last = store_id
                return store_id, found
        return None

    def put(self, store_id: VectorStoreId, embedder: Embedder, rows: Iterable[Embedded], dimensions: int) -> None:
        """Keep vectors, all of this model and of as many dimensions; durable on return.

        What does not follow the vectors that are there, or is of another text than they, is left out. A store whose
        vectors are of another model, or have other dimensions, begins anew with these. Raises NotFoundError,
        StorageFullError.
        """
        with self._stores.lock:
            self._stores.settle(store_id, embedder, dimensions)
            for each in rows:
                path = self._files.vectors(store_id, each.file_id)
                if self._files.holds(store_id, each.file_id):
                    vectors.append(path, Heading(embedder, dimensions, each.content), each.first, each.rows)
                self._vectors.forget(path)
        self.note(store_id)

    def progress(self, store_id: VectorStoreId, embedder: Embedder, dimensions: int) -> Progress | None:
        """How far a store is with such vectors of this model; None while nobody has looked."""
        with self._lock:
            look = self._looks.get(store_id)
        if look is None or look.embedder != embedder or look.dimensions not in (0, dimensions):
            return None
        return look.progress

    def _due(self, embedder: Embedder) -> list[VectorStoreId]:
        """The stores to look at, from the one after the last on."""
        ids = self._stores.ids()
        with self._lock:
            for gone in self._done.keys() - set(ids):
                del self._done[gone]
            for gone in self._looks.keys() - set(ids):
                del self._looks[gone]
            turn = ids.index(self._last) + 1 if self._last in ids else 0
            return [store_id for store_id in ids[turn:] + ids[:turn] if self._done.get(store_id) != embedder]

    def _look(
        self, store_id: VectorStoreId, embedder: Embedder, index: ChunkIndex, files: Sequence[Chunks]
    ) -> list[Unembedded]:
        """The first chunks of a store without vectors; and note how far it is."""
        store = self._stores.get(store_id)
        dimensions = store.dimensions if store.embedder == embedder else 0  # of others none is known before the first
        counts = [self._vectors.count(chunks, embedder, dimensions) for chunks in files]
        progress = Progress(sum(chunks.count for chunks in files), sum(counts))
        with self._lock:
            self._looks[store_id] = _Look(embedder, dimensions, progress)
        return [*self._unembedded(store_id, index, zip(files, counts, strict=True))]

    def _unembedded(
        self, store_id: VectorStoreId, index: ChunkIndex, files: Iterable[tuple[Chunks, int]]
    ) -> Iterator[Unembedded]:
        room = AT_A_TIME
        for chunks, count in files:
            wanted = min(room, chunks.count - count)
            if wanted > 0:
                spans = index.spans(chunks.file_id, count, wanted)
                texts = self._search.texts(
                    store_id, chunks.file_id, [(start, min(stop, start + _MAX_TEXT_BYTES)) for start, stop in spans]
                )
                yield Unembedded(chunks.file_id, chunks.content, count, texts)
                room -= wanted
