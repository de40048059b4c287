"""Attachments that are to be searched: they go into the thread's own vector store, which is made with the first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from google.protobuf.field_mask_pb2 import FieldMask

from gateway.convert.json_fields import from_text, to_text
from gateway.schemas.messages import CreateMessage
from gateway.services.storage import StorageClient
from gateway.vector_stores.made_with import THREADS_EXPIRE_AFTER_DAYS
from jan.errors import InvalidArgumentError, NotFoundError, PreconditionFailedError
from jan.ids import FileBatchId, VectorStoreId
from jan.storage.v1 import threads_pb2, vector_stores_pb2
from jan.storage.v1.vector_store_files_pb2 import NewVectorStoreFile


async def search_attachments(
    storage: StorageClient, thread_id: str, messages: Iterable[CreateMessage] | None
) -> threads_pb2.Thread | None:
    """Add the files that messages attach for `file_search`; the thread when that changed it, else None.

    For messages that are stored: so their files are there. A thread whose store is gone or has expired gets a new one.
    Raises NotFoundError: the thread or a file went meanwhile.
    """
    files = [NewVectorStoreFile(file_id=file_id) for file_id in _searched(messages or ())]
    while files:
        thread = await storage.get_thread(thread_id)
        resources = from_text(thread.tool_resources_json) or {}
        search = resources.get("file_search") or {}
        if store_id := await _usable(storage, search.get("vector_store_ids") or ()):
            await storage.vector_stores.create_batch(store_id, FileBatchId.new(), files)
            return None
        store = vector_stores_pb2.VectorStore(id=VectorStoreId.new(), expires_after_days=THREADS_EXPIRE_AFTER_DAYS)
        made = await storage.vector_stores.create(store, files)
        named = resources | {"file_search": search | {"vector_store_ids": [made.id]}}
        try:
            return await storage.update_thread(
                threads_pb2.UpdateThreadRequest(
                    thread=threads_pb2.Thread(id=thread_id, tool_resources_json=to_text(named)),
                    update_mask=FieldMask(paths=["tool_resources_json"]),
                    if_revision=[thread.revision],
                )
            )
        except PreconditionFailedError:  # somebody else gave it one meanwhile
            await storage.vector_stores.delete(made.id)
    return None


def _searched(messages: Iterable[CreateMessage]) -> list[str]:
    """The files that are attached for a search, each once."""
    return list(
        dict.fromkeys(
            attachment.file_id
            for message in messages
            for attachment in message.attachments or ()
            if any(tool.type == "file_search" for tool in attachment.tools)
        )
    )


async def _usable(storage: StorageClient, store_ids: Sequence[str]) -> str:
    """The first store, when it can be added to; empty when there is none such."""
    for store_id in store_ids[:1]:
        try:
            store = await storage.vector_stores.get(store_id)
        except (NotFoundError, InvalidArgumentError):
            return ""
        return "" if store.state == vector_stores_pb2.VECTOR_STORE_STATE_EXPIRED else store_id
    return ""
