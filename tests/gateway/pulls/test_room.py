"""A disk that is full, and files that are on it already."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage_service.store.store import Store
from tests.fixtures.fake_hub import FakeHub, HubRepository
from tests.fixtures.gateway import running_gateway
from tests.fixtures.model_host import ModelHost
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import limited_files, serving_storage
from tests.fixtures.tiny_models import tiny_gguf
from tests.gateway.pulls.conftest import Pulling, downloads_from

GGUF = tiny_gguf(2**20)


async def test_without_room_nothing_is_fetched(pulling: Pulling) -> None:
    pulling.host.add("/a.gguf", GGUF, claims_total=2**55)
    body = {"model": f"{pulling.host.url}/a.gguf"}
    error = (await pulling.gateway.json("POST", "/v1/models/pull", body, status=507))["error"]
    assert (error["code"], f"{2**55:,} bytes" in error["message"]) == ("storage_full", True)
    assert list(pulling.pulls.iterdir()) == []
    assert pulling.host.sent_bytes["/a.gguf"] == 4


async def test_a_disk_that_fills_up_meanwhile_is_told_and_nothing_is_left(pulling: Pulling) -> None:
    pulling.host.add("/a.gguf", GGUF)
    with limited_files(2**19):
        pull = await pulling.pull(f"{pulling.host.url}/a.gguf")
    assert (pull["state"], pull["error"]["code"], pull["bytes"]) == ("error", "storage_full", 0)
    assert pulling.left_over() == []
    assert not (pulling.models / "a").exists()
    assert (await pulling.pull(f"{pulling.host.url}/a.gguf"))["state"] == "completed"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A Hugging Face cache with a file in it."""
    blobs = tmp_path / "hub" / "models--acme--Tiny" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / hashlib.sha256(GGUF).hexdigest()).write_bytes(GGUF)
    return tmp_path / "hub"


def blob_of(cache: Path) -> Path:
    (blob,) = cache.rglob("blobs/*")
    return blob


@pytest.fixture
async def caching(
    tmp_path: Path, redis_server: RedisServer, redis: object, host: ModelHost, cache: Path
) -> AsyncIterator[Pulling]:
    janroot = tmp_path / "janroot"
    store = await asyncio.to_thread(Store.open, janroot, hf_cache=cache)
    try:
        async with (
            serving_storage(store, janroot) as storage,
            running_gateway(storage, redis_server, **downloads_from(host)) as gateway,
        ):
            yield Pulling(gateway, host, storage)
    finally:
        await asyncio.to_thread(store.close)


async def test_a_file_of_the_cache_is_linked_and_not_fetched(caching: Pulling, cache: Path) -> None:
    FakeHub(caching.host).add(HubRepository("acme/Tiny", files={"t.gguf": GGUF}))
    assert (await caching.pull("acme/Tiny"))["state"] == "completed"
    blob = blob_of(cache)
    assert (caching.models / "t" / "t.gguf").samefile(blob)
    assert caching.host.sent_bytes == {}


async def test_a_damaged_file_of_the_cache_is_fetched_and_left_as_it_is(caching: Pulling, cache: Path) -> None:
    FakeHub(caching.host).add(HubRepository("acme/Tiny", files={"t.gguf": GGUF}))
    blob = blob_of(cache)
    blob.write_bytes(bytes(len(GGUF)))
    assert (await caching.pull("acme/Tiny"))["state"] == "completed"
    assert (caching.models / "t" / "t.gguf").read_bytes() == GGUF
    assert blob.read_bytes() == bytes(len(GGUF))
