"""Which model answers when nobody named one."""

from __future__ import annotations

import pytest

from gateway.models.lookup import ANY_MODEL, find_model_or_any
from gateway.services.storage import StorageClient
from jan.errors import NotFoundError
from tests.fixtures.gateway import write_model
from tests.fixtures.storage import StorageServer

REMOTE = {"engine": "openai", "format": "api", "sources": [{"url": "https://remote.example/v1"}]}


async def chosen(storage: StorageServer) -> str:
    return (await find_model_or_any(StorageClient(storage.channel), ANY_MODEL)).id


async def test_the_oldest_local_model_answers_and_a_remote_one_only_when_there_is_no_other(
    storage_server: StorageServer,
) -> None:
    with pytest.raises(NotFoundError, match="no model yet"):
        await chosen(storage_server)
    write_model(storage_server.janroot, "stranger", created=1, **REMOTE)
    assert await chosen(storage_server) == "stranger"
    write_model(storage_server.janroot, "young", created=1_704_500_000, engine="llamacpp", format="gguf")
    write_model(storage_server.janroot, "old", created=1_704_400_000, engine="llamacpp", format="gguf")
    assert await chosen(storage_server) == "old"


@pytest.mark.parametrize("embedding", [True, "true"])
async def test_a_model_for_embeddings_never_answers_by_default(
    storage_server: StorageServer, embedding: object
) -> None:
    write_model(storage_server.janroot, "embedder", created=1, settings={"embedding": embedding})
    with pytest.raises(NotFoundError, match="no model that chats"):
        await chosen(storage_server)
    write_model(storage_server.janroot, "chatter", created=2, settings={"embedding": False})
    assert await chosen(storage_server) == "chatter"
