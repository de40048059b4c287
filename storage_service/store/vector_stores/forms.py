"""The JSON files of a vector store. Jan had none: they are OpenAI's objects, with times in milliseconds."""

from typing import Any

from jan.errors import InvalidArgumentError
from jan.ids import FileBatchId, FileId, VectorStoreId
from storage_service.store.forms import fields
from storage_service.store.records import JsonObject
from storage_service.store.vector_stores.records import (
    DEFAULT_CHUNK_TOKENS,
    DEFAULT_OVERLAP_TOKENS,
    Chunking,
    Embedder,
    FileBatch,
    FileStatus,
    StoreFile,
    VectorStore,
)


def store_from_json(store_id: VectorStoreId, raw: JsonObject) -> VectorStore:
    """A vector store from its file."""
    created_ms = fields.time_ms(raw, "created_at") or 0
    days = fields.integer(fields.obj(raw, "expires_after"), "days")
    embedding = fields.obj(raw, "embedding")
    embedder = Embedder(fields.text(embedding, "model"), fields.text(embedding, "revision"))
    return VectorStore(
        id=store_id,
        created_ms=created_ms,
        last_active_ms=fields.time_ms(raw, "last_active_at") or created_ms,
        name=fields.optional_text(raw, "name"),
        description=fields.optional_text(raw, "description"),
        expires_after_days=days if days and days > 0 else None,
        metadata=fields.obj(raw, "metadata"),
        embedder=embedder if embedder.model else None,
        dimensions=max(0, fields.integer(embedding, "dimensions") or 0),
    )


def store_to_json(store: VectorStore) -> JsonObject:
    """The file of a vector store."""
    days = store.expires_after_days
    return fields.without_none(
        {
            "id": store.id,
            "object": "vector_store",
            "created_at": store.created_ms,
            "last_active_at": store.last_active_ms,
            "name": store.name,
            "description": store.description,
            "expires_after": None if days is None else {"anchor": "last_active_at", "days": days},
            "metadata": store.metadata,
            "embedding": _embedding(store),
        }
    )


def file_from_json(file_id: FileId, raw: JsonObject) -> StoreFile:
    """A file of a vector store; one whose status is nobody's word is to be processed."""
    error, static = fields.obj(raw, "last_error"), fields.obj(fields.obj(raw, "chunking_strategy"), "static")
    return StoreFile(
        id=file_id,
        filename=fields.text(raw, "filename"),
        created_ms=fields.time_ms(raw, "created_at") or 0,
        status=fields.word(FileStatus, fields.text(raw, "status"), FileStatus.IN_PROGRESS),
        chunking=_chunking(static),
        attributes=fields.obj(raw, "attributes"),
        batch_id=_batch_id(raw),
        usage_bytes=max(0, fields.integer(raw, "usage_bytes") or 0),
        error_code=fields.text(error, "code"),
        error_message=fields.text(error, "message"),
    )


def file_to_json(file: StoreFile) -> JsonObject:
    """The file that tells of a vector store's file."""
    error: Any = {"code": file.error_code, "message": file.error_message} if file.error_code else None
    return fields.without_none(
        {
            "id": file.id,
            "object": "vector_store.file",
            "created_at": file.created_ms,
            "filename": file.filename,
            "status": file.status.value,
            "last_error": error,
            "usage_bytes": file.usage_bytes,
            "attributes": file.attributes,
            "chunking_strategy": {
                "type": "static",
                "static": {
                    "max_chunk_size_tokens": file.chunking.max_tokens,
                    "chunk_overlap_tokens": file.chunking.overlap_tokens,
                },
            },
            "batch_id": file.batch_id,
        }
    )


def batch_from_json(batch_id: FileBatchId, raw: JsonObject) -> FileBatch:
    """A batch from its file."""
    return FileBatch(batch_id, fields.time_ms(raw, "created_at") or 0, raw.get("cancelled") is True)


def batch_to_json(batch: FileBatch) -> JsonObject:
    """The file of a batch."""
    return {
        "id": batch.id,
        "object": "vector_store.files_batch",
        "created_at": batch.created_ms,
        "cancelled": batch.is_cancelled,
    }


def _chunking(static: JsonObject) -> Chunking:
    """What the file says, within OpenAI's bounds: anybody may have written it."""
    most = fields.integer(static, "max_chunk_size_tokens") or DEFAULT_CHUNK_TOKENS
    most = min(max(most, 100), 4096)
    overlap = fields.integer(static, "chunk_overlap_tokens")
    return Chunking(most, min(max(DEFAULT_OVERLAP_TOKENS if overlap is None else overlap, 0), most // 2))


def _embedding(store: VectorStore) -> JsonObject | None:
    if store.embedder is None:
        return None
    return {"model": store.embedder.model, "revision": store.embedder.revision, "dimensions": store.dimensions}


def _batch_id(raw: JsonObject) -> FileBatchId | None:
    try:
        return FileBatchId.parse(fields.text(raw, "batch_id"))
    except InvalidArgumentError:
        return None
