"""Vector stores, their files and what is found in them, between storage's records and OpenAI's objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from gateway.convert.json_fields import from_text, sent_to_text, string_map
from gateway.convert.times import optional_seconds, seconds
from gateway.schemas.tool_resources import NewVectorStore
from gateway.schemas.vector_stores import (
    Attributes,
    ChunkingStrategy,
    CreateFileBatch,
    CreateVectorStore,
    CreateVectorStoreFile,
    ModifyVectorStore,
    SearchVectorStore,
    StaticChunking,
)
from jan.ids import FileId, VectorStoreId
from jan.storage.v1 import vector_store_files_pb2 as files_pb
from jan.storage.v1 import vector_stores_pb2 as pb
from jan.storage.v1.chunk_vectors_pb2 import EmbeddingProgress

DEFAULT_MAX_RESULTS = 10

_STATUSES = {
    pb.VECTOR_STORE_STATE_IN_PROGRESS: "in_progress",
    pb.VECTOR_STORE_STATE_COMPLETED: "completed",
    pb.VECTOR_STORE_STATE_EXPIRED: "expired",
}
FILE_STATES = {
    "in_progress": files_pb.VECTOR_STORE_FILE_STATE_IN_PROGRESS,
    "completed": files_pb.VECTOR_STORE_FILE_STATE_COMPLETED,
    "failed": files_pb.VECTOR_STORE_FILE_STATE_FAILED,
    "cancelled": files_pb.VECTOR_STORE_FILE_STATE_CANCELLED,
}
_FILE_STATUSES = {state: status for status, state in FILE_STATES.items()}
# Storage's field for each of the request's.
_PATHS = {"name": "name", "expires_after": "expires_after_days", "metadata": "metadata_json"}


def new_store(store_id: VectorStoreId, body: CreateVectorStore) -> pb.VectorStore:
    """What a request says of a new vector store."""
    return pb.VectorStore(
        id=store_id,
        name=body.name,
        description=body.description,
        expires_after_days=body.expires_after.days if body.expires_after else 0,
        metadata_json=sent_to_text(body.metadata or {}, "metadata"),
    )


def new_files(body: CreateVectorStore | CreateFileBatch | NewVectorStore) -> list[files_pb.NewVectorStoreFile]:
    """The files of a request, each once. Raises InvalidArgumentError: one has no id of a file."""
    if isinstance(body, CreateFileBatch) and body.files is not None:
        return [*{file.file_id: new_file(file) for file in body.files}.values()]
    attributes = body.attributes if isinstance(body, CreateFileBatch) else None
    return [_new_file(file_id, body.chunking_strategy, attributes) for file_id in dict.fromkeys(body.file_ids or ())]


def new_file(body: CreateVectorStoreFile) -> files_pb.NewVectorStoreFile:
    """The file of a request. Raises InvalidArgumentError: it has no id of a file."""
    return _new_file(body.file_id, body.chunking_strategy, body.attributes)


def store_update(store_id: VectorStoreId, body: ModifyVectorStore) -> pb.UpdateVectorStoreRequest:
    """The change that a request asks for: the fields sent."""
    return pb.UpdateVectorStoreRequest(
        vector_store=pb.VectorStore(
            id=store_id,
            name=body.name,
            expires_after_days=body.expires_after.days if body.expires_after else 0,
            metadata_json=sent_to_text(body.metadata or {}, "metadata"),
        ),
        update_mask=FieldMask(paths=sorted(_PATHS[field] for field in body.model_fields_set)),
    )


def search_to_proto(store_id: VectorStoreId, body: SearchVectorStore) -> pb.SearchVectorStoreRequest:
    """What a request looks for."""
    filters = body.filters.model_dump() if body.filters else None
    weights = body.ranking_options and body.ranking_options.hybrid_search
    return pb.SearchVectorStoreRequest(
        vector_store_id=store_id,
        queries=queries(body),
        filters_json=sent_to_text(filters, "filters"),
        max_results=body.max_num_results or DEFAULT_MAX_RESULTS,
        score_threshold=(body.ranking_options and body.ranking_options.score_threshold) or 0,
        embedding_weight=weights.embedding_weight if weights else 0,
        text_weight=weights.text_weight if weights else 0,
    )


def queries(body: SearchVectorStore) -> list[str]:
    """The queries of a request, of which one may stand alone."""
    return [body.query] if isinstance(body.query, str) else body.query


def store_from_proto(store: pb.VectorStore) -> dict[str, Any]:
    """OpenAI's `vector_store`."""
    days = store.expires_after_days
    return {
        "id": store.id,
        "object": "vector_store",
        "created_at": seconds(store.created_at),
        "name": store.name if store.HasField("name") else None,
        "description": store.description if store.HasField("description") else None,
        "usage_bytes": store.usage_bytes,
        "file_counts": _counts(store.file_counts),
        "status": _STATUSES[store.state],
        "expires_after": {"anchor": "last_active_at", "days": days} if days else None,
        "expires_at": optional_seconds(store, "expires_at"),
        "last_active_at": seconds(store.last_active_at),
        "metadata": string_map(store.metadata_json),
        "embedding": _progress(store.embedding) if store.HasField("embedding") else None,
    }


def store_file_from_proto(file: files_pb.VectorStoreFile) -> dict[str, Any]:
    """OpenAI's `vector_store.file`."""
    return {
        "id": file.id,
        "object": "vector_store.file",
        "created_at": seconds(file.created_at),
        "vector_store_id": file.vector_store_id,
        "usage_bytes": file.usage_bytes,
        "status": _FILE_STATUSES[file.state],
        "last_error": {"code": file.error_code, "message": file.error_message} if file.error_code else None,
        "chunking_strategy": {
            "type": "static",
            "static": {
                "max_chunk_size_tokens": file.chunking.max_tokens,
                "chunk_overlap_tokens": file.chunking.overlap_tokens,
            },
        },
        "attributes": from_text(file.attributes_json, {}),
    }


def batch_from_proto(batch: files_pb.VectorStoreFileBatch) -> dict[str, Any]:
    """OpenAI's `vector_store.files_batch`, in the spelling of its specification and SDKs."""
    in_progress = "in_progress" if batch.file_counts.in_progress else "completed"
    return {
        "id": batch.id,
        "object": "vector_store.files_batch",
        "created_at": seconds(batch.created_at),
        "vector_store_id": batch.vector_store_id,
        "status": "cancelled" if batch.is_cancelled else in_progress,
        "file_counts": _counts(batch.file_counts),
    }


def hit_from_proto(hit: pb.VectorStoreHit) -> dict[str, Any]:
    """A chunk as OpenAI's search answers it."""
    return {
        "file_id": hit.file_id,
        "filename": hit.filename,
        "score": round(hit.score, 6),
        "attributes": from_text(hit.attributes_json, {}),
        "content": [{"type": "text", "text": hit.text}],
    }


def text_page(object_name: str, data: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A page of which there is only one, as search and content answer."""
    return {"object": object_name, **more, "data": list(data), "has_more": False, "next_page": None}


def _new_file(
    file_id: str, chunking: ChunkingStrategy | None, attributes: Attributes | None
) -> files_pb.NewVectorStoreFile:
    new = files_pb.NewVectorStoreFile(
        file_id=FileId.parse(file_id), attributes_json=sent_to_text(attributes or {}, "attributes")
    )
    if isinstance(chunking, StaticChunking):
        new.chunking.max_tokens = chunking.static.max_chunk_size_tokens
        new.chunking.overlap_tokens = chunking.static.chunk_overlap_tokens
    return new


def _progress(progress: EmbeddingProgress) -> dict[str, Any]:
    """Ours: what the chunks are embedded with, and how far; `chunks` is null until they are counted."""
    return {
        "model": progress.embedder.model_id,
        "dimensions": progress.dimensions,
        "chunks": progress.chunks if progress.HasField("chunks") else None,
        "embedded_chunks": progress.embedded_chunks,
    }


def _counts(counts: files_pb.VectorStoreFileCounts) -> dict[str, int]:
    by_status = {status: getattr(counts, status) for status in ("in_progress", "completed", "failed", "cancelled")}
    return by_status | {"total": sum(by_status.values())}
