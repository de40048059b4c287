"""The vector store that a new assistant or thread asks for in its `tool_resources`: made with it, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from gateway.convert.json_fields import sent_to_text
from gateway.convert.vector_stores import new_files
from gateway.http.mentions import mentioned_in
from gateway.idempotency.new_ids import NewIds
from gateway.idempotency.records import RecordedAnswers
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
MadeT = TypeVar("MadeT")

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


async def made_with(
    answers: RecordedAnswers,
    stores: VectorStoreClient,
    asked: AskedStore | None,
    ids: NewIds,
    make: Callable[[], Awaitable[MadeT]],
) -> MadeT:
    """What `make` makes, once the store that it names is there; a refusal of it takes the store away again.

    A client that leaves in between has both made: a store that nobody names would stay for ever. Under repeatable ids a
    store that an earlier sending made is the one, and stays. Raises InvalidArgumentError: a file is not there, and
    nothing is made.
    """
    if asked is None:
        return await make()
    return await asyncio.shield(answers.run(_make_both(stores, asked, ids, make), f"make-with-{asked.store.id}"))


async def _make_both(
    stores: VectorStoreClient, asked: AskedStore, ids: NewIds, make: Callable[[], Awaitable[MadeT]]
) -> MadeT:
    was_there = ids.are_repeatable and await _is_there(stores, asked.store.id)
    try:
        await stores.create(asked.store, asked.files)
    except NotFoundError as error:
        raise InvalidArgumentError(error.message, param=asked.param) from None
    try:
        return await make()
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
