"""The vectors of chunks that storage keeps, as the gateway sees them."""

from __future__ import annotations

from collections.abc import Iterable

from grpc import aio

from jan.rpc import call
from jan.storage.v1 import chunk_vectors_pb2 as pb
from jan.storage.v1.chunk_vectors_pb2_grpc import ChunkVectorServiceStub

# An index that was lost is made anew by the first look.
_SECONDS = 60.0


class ChunkVectorClient:
    """The service over a channel. Every method may raise any `JanError` that storage raises."""

    def __init__(self, channel: aio.Channel) -> None:
        self._vectors = ChunkVectorServiceStub(channel)

    async def unembedded(self, embedder: pb.Embedder) -> pb.ListUnembeddedChunksResponse:
        """Some chunks without vectors of this model."""
        request = pb.ListUnembeddedChunksRequest(embedder=embedder)
        return await call(self._vectors.ListUnembeddedChunks, request, deadline_seconds=_SECONDS)

    async def put(self, store_id: str, embedder: pb.Embedder, dimensions: int, rows: Iterable[pb.VectorRow]) -> None:
        """Keep vectors; harmless to repeat."""
        request = pb.PutChunkVectorsRequest(
            vector_store_id=store_id, embedder=embedder, dimensions=dimensions, rows=rows
        )
        await call(self._vectors.PutChunkVectors, request, deadline_seconds=_SECONDS)
