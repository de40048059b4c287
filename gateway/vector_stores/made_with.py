"""The vector store that a new assistant or thread asks for in its `tool_resources`: made with it, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from gateway.convert.json_fields import sent_to_text
from gateway.convert.vector_stores import new_files
from gateway.http.mentions import mentioned_in
from gateway.idempotency.new_ids import NewIds
from gateway.schemas.assistants import CreateAssistant
from gateway.schemas.threads import CreateThread
from gateway.schemas.tool_resources import NewToolResources
from gateway.vector_stores.client import VectorStoreClient
from jan.errors import (
    DeadlineExceededError,
    InternalError,
    InvalidArgumentError,
    JanError,
    NotFoundError,
    UnavailableError,
)
from jan.ids import VectorStoreId
from jan.storage.v1 import vector_store_files_pb2, vector_stores_pb2

BodyT = TypeVar("BodyT", CreateAssistant, CreateThread)

THREADS_EXPIRE_AFTER_DAYS = 7
"""OpenAI's for a thread's store; an assistant's stays."""

# After these nobody knows whether what names the store was made.
_UNKNOWN = (UnavailableError, DeadlineExceededError, InternalError)


@dataclass(frozen=True, slots=True)
class AskedStore:
    """A store that is to be made. named: the resources as they are kept. param: what the request calls its files."""

    store: vector_stores_pb2.VectorStore
    files: list[vector_store_files_pb2.NewVectorStoreFile]
    named: NewToolResources
    param: str


def asked_store(
    resources: NewToolResources | None, ids: NewIds, *, expires_after_days: int = 0, param: str = "tool_resources"
) -> AskedStore | None:
    """The store that the resources ask for, under the next of `ids`; None where they ask for none.

    param: what the request calls the resources. Raises InvalidArgumentError: a file has no id of one.
    """
    wanted = resources.new_store if resources else None
    if resources is None or wanted is None:
        return None
    place = f"{param}.file_search.vector_stores[0]"
    with mentioned_in(f"{place}.file_ids"):
        files = new_files(wanted)
    store = vector_stores_pb2.VectorStore(
        id=ids.next(VectorStoreId),
        expires_after_days=expires_after_days,
        metadata_json=sent_to_text(wanted.metadata or {}, f"{place}.metadata"),
    )
    return AskedStore(store, files, resources.naming(store.id), f"{place}.file_ids")


def with_store(body: BodyT, asked: AskedStore | None) -> BodyT:
    """The request with the store's id for what it said of the store."""
    return body if asked is None else body.model_copy(update={"tool_resources": asked.named})


@asynccontextmanager
async def made_with(stores: VectorStoreClient, asked: AskedStore | None, ids: NewIds) -> AsyncIterator[None]:
    """Inside, the store is there, and what names it is made; a refusal of that takes it away again.

    Under repeatable ids a store that an earlier sending made is the one, and stays. Raises InvalidArgumentError: a
    file is not there, and nothing is made.
    """
    if asked is None:
        yield
        return
    was_there = ids.are_repeatable and await _is_there(stores, asked.store.id)
    try:
        await stores.create(asked.store, asked.files)
    except NotFoundError as error:
        raise InvalidArgumentError(error.message, param=asked.param) from None
    try:
        yield
    except JanError as error:
        if not was_there and not isinstance(error, _UNKNOWN):
            await stores.delete(asked.store.id)
        raise


async def _is_there(stores: VectorStoreClient, store_id: str) -> bool:
    try:
        await stores.get(store_id)
    except NotFoundError:
        return False
    return True
