"""Searching vector stores by words and by meaning: the query is embedded on the way to storage, which ranks.

Meaning is an extra. Whatever keeps the query from being embedded in time, words alone answer, and it is said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.models.lookup import find_model
from gateway.queueing.jobs import JobClient
from gateway.queueing.priority import Priority
from gateway.services.storage import StorageClient
from gateway.vector_stores.embedder import NONE, embed, embedder_of
from jan.errors import JanError, NotFoundError
from jan.storage.v1 import models_pb2
from jan.storage.v1 import vector_stores_pb2 as pb
from jan.telemetry import get_logger

logger = get_logger(__name__)

# For the query's vector: long enough to load a small model, short enough that nobody takes the search for lost.
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Ranked:
    """What was found, the best first.

    by: what ranked the chunks that were looked at, `words` and `meaning`; nothing when there were none. reason: why it
    was not both for each of them, unless nobody wanted words.
    """

    hits: Sequence[pb.VectorStoreHit]
    by: Sequence[str]
    reason: str


class WordsAloneError(Exception):
    """The query has no vectors, and why not in a word."""


class ChunkSearcher:
    """Made once for the application. `wanted`: the setting JANROOT_EMBEDDING_MODEL."""

    def __init__(
        self, storage: StorageClient, jobs: JobClient, wanted: str, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self._storage = storage
        self._jobs = jobs
        self._wanted = wanted
        self._patience_seconds = patience_seconds

    async def search(self, request: pb.SearchVectorStoreRequest, *, tenant: str, priority: Priority) -> Ranked:
        """Find chunks. Raises any JanError of storage; one of the query's embedding is no error."""
        try:
            await self._add_vectors(request, tenant, priority)
            reason = ""
        except WordsAloneError as why:
            reason = str(why)
        answer = await self._storage.vector_stores.search(request)
        if not answer.chunks:
            return Ranked(answer.hits, [], "no_chunks")
        if not answer.chunks_with_vectors:
            return Ranked(answer.hits, ["words"], reason or "not_embedded")
        wants_words = request.text_weight or not request.embedding_weight
        reason = "partly_embedded" if answer.chunks_with_vectors < answer.chunks else ""
        return Ranked(answer.hits, ["words", "meaning"] if wants_words else ["meaning"], reason)

    async def _add_vectors(self, request: pb.SearchVectorStoreRequest, tenant: str, priority: Priority) -> None:
        """Give each query its vector. Raises WordsAloneError."""
        if self._wanted == NONE or (request.text_weight and not request.embedding_weight):
            raise WordsAloneError("not_wanted")
        model = await self._model(request.vector_store_id)
        try:
            async with asyncio.timeout(self._patience_seconds):
                vectors = await embed(self._jobs, model, request.queries, tenant=tenant, priority=priority)
        except TimeoutError:
            raise WordsAloneError("model_too_slow") from None
        except JanError as error:
            logger.warning("a query is not embedded", model=model.id, error=error.message)
            raise WordsAloneError("model_failed") from None
        if not all(vectors):
            raise WordsAloneError("model_failed")
        request.embedder.CopyFrom(embedder_of(model))
        request.query_vectors.extend(vectors)

    async def _model(self, store_id: str) -> models_pb2.Model:
        """The model that the store's vectors are of. Raises WordsAloneError."""
        store = await self._storage.vector_stores.get(store_id)
        if not store.HasField("embedding"):
            raise WordsAloneError("not_embedded")
        try:
            model = await find_model(self._storage, store.embedding.embedder.model_id)
        except NotFoundError:
            raise WordsAloneError("model_gone") from None
        if embedder_of(model) != store.embedding.embedder:
            raise WordsAloneError("model_changed")
        return model
