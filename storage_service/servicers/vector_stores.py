"""VectorStoreService over the store."""

from dataclasses import replace
from typing import Any

from grpc import aio

from jan.errors import InvalidArgumentError
from jan.ids import VectorStoreId
from jan.storage.v1 import chunk_vectors_pb2
from jan.storage.v1 import vector_stores_pb2 as pb
from jan.storage.v1.vector_stores_pb2_grpc import VectorStoreServiceServicer
from storage_service.access import Access
from storage_service.servicers import values
from storage_service.servicers.chunk_vectors import embedder_from_proto
from storage_service.servicers.vector_store_files import counts_to_proto, new_file
from storage_service.store.store import Store
from storage_service.store.vector_stores.fusion import Weights
from storage_service.store.vector_stores.records import Found, VectorStore
from storage_service.store.vector_stores.search import MAX_RESULTS, Wanted
from storage_service.store.vector_stores.vectors import unit_rows

Context = aio.ServicerContext[Any, Any]

# The record's field for each path of an update mask.
_FIELDS = {"name": "name", "expires_after_days": "expires_after_days", "metadata_json": "metadata"}


class VectorStoreServicer(VectorStoreServiceServicer):
    """See vector_stores.proto. `searching` is a door of its own: an index that is made anew must hold nobody up."""

    def __init__(self, access: Access, searching: Access, store: Store) -> None:
        self._access = access
        self._searching = searching
        self._stores = store.vector_stores
        self._files = store.vector_store_files
        self._search = store.chunk_search
        self._embedding = store.embedding

    async def CreateVectorStore(
        self, request: pb.CreateVectorStoreRequest, context: Context
    ) -> pb.CreateVectorStoreResponse:
        """See vector_stores.proto."""
        wanted, files = from_proto(request.vector_store), [*map(new_file, request.files)]
        made = await self._access.run_alone(wanted.id, lambda: self._shown(self._files.make_store(wanted, files)))
        return pb.CreateVectorStoreResponse(vector_store=made)

    async def GetVectorStore(self, request: pb.GetVectorStoreRequest, context: Context) -> pb.GetVectorStoreResponse:
        """See vector_stores.proto."""
        store_id = VectorStoreId.parse(request.vector_store_id)
        shown = await self._access.run(lambda: self._shown(self._stores.get(store_id)))
        return pb.GetVectorStoreResponse(vector_store=shown)

    async def ListVectorStores(
        self, request: pb.ListVectorStoresRequest, context: Context
    ) -> pb.ListVectorStoresResponse:
        """See vector_stores.proto."""
        query = values.page_query(request.page)

        def page() -> pb.ListVectorStoresResponse:
            found = self._stores.page(query)
            return pb.ListVectorStoresResponse(vector_stores=map(self._shown, found.items), has_more=found.has_more)

        return await self._access.run(page)

    async def UpdateVectorStore(
        self, request: pb.UpdateVectorStoreRequest, context: Context
    ) -> pb.UpdateVectorStoreResponse:
        """See vector_stores.proto."""
        wanted = from_proto(request.vector_store)
        paths = values.masked_paths(list(request.update_mask.paths), frozenset(_FIELDS))
        changes = {_FIELDS[path]: getattr(wanted, _FIELDS[path]) for path in paths}
        changed = await self._access.run_alone(
            wanted.id, lambda: self._shown(self._stores.change(wanted.id, lambda store: replace(store, **changes)))
        )
        return pb.UpdateVectorStoreResponse(vector_store=changed)

    async def DeleteVectorStore(
        self, request: pb.DeleteVectorStoreRequest, context: Context
    ) -> pb.DeleteVectorStoreResponse:
        """See vector_stores.proto."""
        store_id = VectorStoreId.parse(request.vector_store_id)

        def delete() -> None:
            self._stores.delete(store_id)
            self._files.forget(store_id)

        await self._access.run_alone(store_id, delete)
        return pb.DeleteVectorStoreResponse()

    async def SearchVectorStore(
        self, request: pb.SearchVectorStoreRequest, context: Context
    ) -> pb.SearchVectorStoreResponse:
        """See vector_stores.proto."""
        store_id = VectorStoreId.parse(request.vector_store_id)
        if not 1 <= request.max_results <= MAX_RESULTS:
            raise InvalidArgumentError(f"max_results must be between 1 and {MAX_RESULTS}.", param="max_num_results")
        wanted = _wanted(request)
        ranking = await self._searching.run(lambda: self._search.search(store_id, wanted))
        return pb.SearchVectorStoreResponse(
            hits=map(_hit_to_proto, ranking.found), chunks=ranking.chunks, chunks_with_vectors=ranking.with_vectors
        )

    def _shown(self, store: VectorStore) -> pb.VectorStore:
        """A store for the wire, with how far its files are."""
        counts = self._files.counts(store.id)
        if self._stores.has_expired(store):
            state = pb.VECTOR_STORE_STATE_EXPIRED
        elif counts.in_progress:
            state = pb.VECTOR_STORE_STATE_IN_PROGRESS
        else:
            state = pb.VECTOR_STORE_STATE_COMPLETED
        return pb.VectorStore(
            id=store.id,
            created_at=values.timestamp(store.created_ms),
            last_active_at=values.timestamp(store.last_active_ms),
            name=store.name,
            description=store.description,
            expires_after_days=store.expires_after_days or 0,
            expires_at=values.timestamp(store.expires_ms),
            metadata_json=values.dump(store.metadata),
            state=state,
            file_counts=counts_to_proto(counts),
            usage_bytes=counts.usage_bytes,
            embedding=self._progress(store),
        )

    def _progress(self, store: VectorStore) -> chunk_vectors_pb2.EmbeddingProgress | None:
        if store.embedder is None:
            return None
        progress = self._embedding.progress(store.id, store.embedder, store.dimensions)
        return chunk_vectors_pb2.EmbeddingProgress(
            embedder=chunk_vectors_pb2.Embedder(model_id=store.embedder.model, revision=store.embedder.revision),
            dimensions=store.dimensions,
            chunks=progress.chunks if progress else None,
            embedded_chunks=progress.embedded if progress else 0,
        )


def from_proto(store: pb.VectorStore) -> VectorStore:
    """What is the caller's to say of a store. Raises InvalidArgumentError: a bad id or JSON text."""
    return VectorStore(
        id=VectorStoreId.parse(store.id),
        created_ms=0,
        last_active_ms=0,
        name=store.name if store.HasField("name") else None,
        description=store.description if store.HasField("description") else None,
        expires_after_days=store.expires_after_days or None,
        metadata=values.load_object(store.metadata_json, "metadata"),
    )


def _wanted(request: pb.SearchVectorStoreRequest) -> Wanted:
    """Raises InvalidArgumentError: a filter that is no JSON object, or vectors that are none."""
    weights = Weights(request.text_weight, request.embedding_weight)
    return Wanted(
        list(request.queries),
        values.load_optional_object(request.filters_json, "filters"),
        request.max_results,
        request.score_threshold,
        embedder_from_proto(request.embedder) if request.HasField("embedder") else None,
        [unit_rows(vector, len(vector) // 4)[0] for vector in request.query_vectors],
        weights if weights.words or weights.meaning else Weights(),
    )


def _hit_to_proto(found: Found) -> pb.VectorStoreHit:
    return pb.VectorStoreHit(
        file_id=found.file.id,
        filename=found.file.filename,
        score=found.score,
        attributes_json=values.dump(found.file.attributes),
        text=found.text,
        by_meaning=found.by_meaning,
    )
