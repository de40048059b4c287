"""ChunkVectorService over the store."""

from typing import Any

from grpc import aio

from jan.ids import FileId, VectorStoreId
from jan.storage.v1 import chunk_vectors_pb2 as pb
from jan.storage.v1.chunk_vectors_pb2_grpc import ChunkVectorServiceServicer
from storage_service.access import Access
from storage_service.store.store import Store
from storage_service.store.vector_stores.embedding import Embedded, Unembedded
from storage_service.store.vector_stores.records import Embedder
from storage_service.store.vector_stores.vectors import unit_rows

Context = aio.ServicerContext[Any, Any]


class ChunkVectorServicer(ChunkVectorServiceServicer):
    """See chunk_vectors.proto. `searching` is the door of searches, which look into the same indexes."""

    def __init__(self, searching: Access, store: Store) -> None:
        self._searching = searching
        self._embedding = store.embedding

    async def ListUnembeddedChunks(
        self, request: pb.ListUnembeddedChunksRequest, context: Context
    ) -> pb.ListUnembeddedChunksResponse:
        """See chunk_vectors.proto."""
        embedder = embedder_from_proto(request.embedder)
        found = await self._searching.run(lambda: self._embedding.next(embedder))
        if found is None:
            return pb.ListUnembeddedChunksResponse()
        store_id, rows = found
        return pb.ListUnembeddedChunksResponse(vector_store_id=store_id, rows=map(_row_to_proto, rows))

    async def PutChunkVectors(self, request: pb.PutChunkVectorsRequest, context: Context) -> pb.PutChunkVectorsResponse:
        """See chunk_vectors.proto."""
        store_id, embedder = VectorStoreId.parse(request.vector_store_id), embedder_from_proto(request.embedder)
        rows = [
            Embedded(FileId.parse(row.file_id), row.content, row.first, unit_rows(row.vectors, request.dimensions))
            for row in request.rows
        ]
        await self._searching.run(lambda: self._embedding.put(store_id, embedder, rows, request.dimensions))
        return pb.PutChunkVectorsResponse()


def embedder_from_proto(embedder: pb.Embedder) -> Embedder:
    """A model as it is named in files."""
    return Embedder(embedder.model_id, embedder.revision)


def _row_to_proto(row: Unembedded) -> pb.ChunkRow:
    return pb.ChunkRow(file_id=row.file_id, content=row.content, first=row.first, texts=row.texts)
