"""Search in a vector store, by words and by words and meaning, over gRPC: 10,000 and 100,000 chunks of 384 numbers."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from bench.storage.janroots import WORDS
from bench.storage.measures import tell, waits
from bench.storage.service import Service
from jan.ids import FileId, VectorStoreId
from jan.storage.v1 import chunk_vectors_pb2, vector_stores_pb2
from jan.storage.v1.vector_stores_pb2_grpc import VectorStoreServiceStub
from storage_service.store.records import File
from storage_service.store.store import Store
from storage_service.store.vector_stores.records import Chunking, Embedder, FileStatus, NewFile, VectorStore
from storage_service.store.vector_stores.vectors import Heading, Rows, append, unit_rows

SIZES = (10_000, 100_000)
CHUNKS_PER_FILE = 100
DIMENSIONS = 384
EMBEDDER = Embedder("bench", "1")


async def measure(folder: Path) -> None:
    """One row for each size."""
    rows = []
    for size in SIZES:
        janroot = folder / str(size)
        store_id = make(janroot, size // CHUNKS_PER_FILE)
        async with Service(folder, janroot) as service:
            search = partial(ask, VectorStoreServiceStub(service.channel), store_id)
            began = time.perf_counter()
            await search(by_meaning=True)
            first = time.perf_counter() - began
            words = await waits(partial(search, by_meaning=False), 100)
            both = await waits(partial(search, by_meaning=True), 100)
            rows.append([f"{size:,}", f"{first * 1000:.0f}", words, both, service.memory_mb()])
    tell(
        f"Search in chunks with vectors of {DIMENSIONS} numbers, milliseconds p50 / p99",
        ["chunks", "the first search after a start", "by words", "by words and meaning", "memory, MB"],
        rows,
    )


async def ask(stub: VectorStoreServiceStub, store_id: str, *, by_meaning: bool) -> None:
    """Search once for two of the words."""
    query = np.random.default_rng().standard_normal(DIMENSIONS).astype("<f4")
    await stub.SearchVectorStore(
        vector_stores_pb2.SearchVectorStoreRequest(
            vector_store_id=store_id,
            queries=["service messages"],
            max_results=10,
            embedder=chunk_vectors_pb2.Embedder(model_id="bench", revision="1") if by_meaning else None,
            query_vectors=[query.tobytes()] if by_meaning else [],
        )
    )


def make(janroot: Path, files: int) -> VectorStoreId:
    """A janroot with one vector store that is indexed and embedded."""
    store = Store.open(janroot)
    try:
        made = store.vector_stores.create(VectorStore(VectorStoreId.new(), 0, 0)).id
        for number in range(files):
            settle(store, made, number)
        store.chunk_search.refresh(made)
        for each in store.chunk_search.with_chunks(made, lambda _, chunks: chunks):
            append(each.path, Heading(EMBEDDER, DIMENSIONS, each.content), 0, vectors(each.count))
        return made
    finally:
        store.close()


def settle(store: Store, store_id: VectorStoreId, number: int) -> None:
    """Add a file whose text makes CHUNKS_PER_FILE chunks."""
    upload = store.files.begin()
    upload.write(b"x")
    held = store.files.finish(upload, File(FileId.new(), f"{number}.txt", "assistants", 0, 0))
    [file] = store.vector_store_files.add(store_id, [NewFile(held.id, Chunking(100, 0))])
    random = np.random.default_rng(number)
    # Most words of the list have a token each: a little less than a chunk's hundred, and a line's end to cut at.
    text = "\n".join(" ".join(random.choice(WORDS, 60)) + f" n{number} c{chunk}" for chunk in range(CHUNKS_PER_FILE))
    store.vector_store_files.settle(store_id, file, replace(file, status=FileStatus.COMPLETED), text)


def vectors(count: int) -> Rows:
    """Directions by chance, which is the worst case of any index but one that looks at all of them."""
    return unit_rows(np.random.default_rng().standard_normal((count, DIMENSIONS)).astype("<f4").tobytes(), DIMENSIONS)
