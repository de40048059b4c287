"""/v1/vector_stores with the stock client, over real gRPC and real files: made, filled, searched, emptied."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types import VectorStore
from openai.types.vector_stores import VectorStoreFile

from tests.fixtures.storage import StorageServer
from tests.gateway.client import Api, ask, refusal, upload

TOMATOES = "# Tomatoes\n\nPlant tomatoes in May, when the nights are warm.\n"
ROSES = "# Roses\n\nCut roses back in March, before the leaves come.\n"


async def put(client: AsyncOpenAI, store_id: str, name: str, text: str, **more: Any) -> VectorStoreFile:
    """Upload a file, add it, and wait until it is processed."""
    uploaded = await client.files.create(file=(name, text.encode()), purpose="assistants")
    return await client.vector_stores.files.create_and_poll(uploaded.id, vector_store_id=store_id, **more)


async def test_uploads_are_added_and_found(openai_client: AsyncOpenAI, storage_server: StorageServer) -> None:
    store = await openai_client.vector_stores.create(name="Garden", metadata={"of": "Ann"})
    assert (store.name, store.status, store.metadata, store.file_counts.total) == (
        "Garden",
        "completed",
        {"of": "Ann"},
        0,
    )
    tomatoes = await put(openai_client, store.id, "tomatoes.md", TOMATOES)
    await put(openai_client, store.id, "roses.md", ROSES)
    assert (tomatoes.status, tomatoes.last_error, tomatoes.usage_bytes) == ("completed", None, len(TOMATOES))
    page = await openai_client.vector_stores.search(store.id, query="When do I plant a tomato?")
    assert page.data[0].file_id == tomatoes.id
    assert page.data[0].filename == "tomatoes.md"
    assert page.data[0].content[0].text in TOMATOES
    assert 0 < page.data[0].score <= 1
    content = await openai_client.vector_stores.files.content(tomatoes.id, vector_store_id=store.id)
    assert [part.text for part in content.data] == [TOMATOES]
    told = await openai_client.vector_stores.retrieve(store.id)
    assert (told.file_counts.completed, told.usage_bytes) == (2, len(TOMATOES) + len(ROSES))
    folder = storage_server.janroot / "vector_stores" / store.id
    assert await asyncio.to_thread((folder / "files" / f"{tomatoes.id}.txt").read_text) == TOMATOES
    assert json.loads(await asyncio.to_thread((folder / "vector_store.json").read_text))["name"] == "Garden"


async def test_upload_and_poll_and_batches(openai_client: AsyncOpenAI) -> None:
    files = [("a.txt", b"apples"), ("b.bin", b"\0\1\2"), ("c.txt", b"cherries")]
    store = await openai_client.vector_stores.create()
    batch = await openai_client.vector_stores.file_batches.upload_and_poll(store.id, files=files)
    assert (batch.status, batch.file_counts.completed, batch.file_counts.failed) == ("completed", 2, 1)
    failed = await openai_client.vector_stores.file_batches.list_files(
        batch.id, vector_store_id=store.id, filter="failed"
    )
    assert [file.last_error and file.last_error.code for file in failed.data] == ["unsupported_file"]
    listed = await openai_client.vector_stores.files.list(store.id, order="asc", limit=2)
    assert listed.has_more
    rest = await listed.get_next_page()
    assert sorted(file.status for file in [*listed.data, *rest.data]) == ["completed", "completed", "failed"]
    single = await openai_client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=("d.md", b"dates"))
    assert single.status == "completed"
    with pytest.raises(openai.BadRequestError, match="has ended"):
        await openai_client.vector_stores.file_batches.cancel(batch.id, vector_store_id=store.id)


async def test_attributes_filter_what_is_found(openai_client: AsyncOpenAI) -> None:
    store = await openai_client.vector_stores.create()
    old = await put(openai_client, store.id, "old.txt", "The price is one", attributes={"year": 2024, "draft": True})
    new = await put(openai_client, store.id, "new.txt", "The price is two", attributes={"year": 2026})

    async def found(**filters: Any) -> set[str]:
        page = await openai_client.vector_stores.search(store.id, query=["price"], filters=filters)  # type: ignore[arg-type]
        return {hit.file_id for hit in page.data}

    assert await found(type="gte", key="year", value=2025) == {new.id}
    assert await found(type="eq", key="draft", value=True) == {old.id}
    both = [{"type": "in", "key": "year", "value": [2024, 2026]}, {"type": "ne", "key": "draft", "value": True}]
    assert await found(type="and", filters=both) == {new.id}
    changed = await openai_client.vector_stores.files.update(
        old.id, vector_store_id=store.id, attributes={"year": 2027}
    )
    assert changed.attributes == {"year": 2027}
    assert await found(type="gte", key="year", value=2025) == {old.id, new.id}


async def test_what_is_taken_out_is_not_found(openai_client: AsyncOpenAI, storage_server: StorageServer) -> None:
    store = await openai_client.vector_stores.create()
    detached = await put(openai_client, store.id, "a.txt", "common words here")
    deleted = await put(openai_client, store.id, "b.txt", "common words there")
    assert len((await openai_client.vector_stores.search(store.id, query="common")).data) == 2
    await openai_client.vector_stores.files.delete(detached.id, vector_store_id=store.id)
    assert (await openai_client.files.retrieve(detached.id)).id == detached.id
    await openai_client.files.delete(deleted.id)
    assert (await openai_client.vector_stores.search(store.id, query="common")).data == []
    assert (await openai_client.vector_stores.files.list(store.id)).data == []
    with pytest.raises(openai.NotFoundError):
        await openai_client.vector_stores.files.retrieve(deleted.id, vector_store_id=store.id)
    await openai_client.vector_stores.delete(store.id)
    with pytest.raises(openai.NotFoundError):
        await openai_client.vector_stores.delete(store.id)
    assert not (storage_server.janroot / "vector_stores" / store.id).exists()


async def test_a_store_is_changed_and_listed(api: Api) -> None:
    made = [await ask(api, "POST", "/v1/vector_stores", {"name": name}) for name in "ab"]
    for each in made:
        VectorStore.model_validate(each, strict=True)
    listed = await ask(api, "GET", "/v1/vector_stores")
    assert [each["name"] for each in listed["data"]] == ["b", "a"]
    path = f"/v1/vector_stores/{made[0]['id']}"
    expiry = {"anchor": "last_active_at", "days": 7}
    changed = await ask(api, "POST", path, {"name": None, "expires_after": expiry, "metadata": {"k": "v"}})
    assert (changed["name"], changed["expires_after"], changed["metadata"]) == (None, expiry, {"k": "v"})
    assert changed["expires_at"] == changed["last_active_at"] + 7 * 86_400
    assert await ask(api, "GET", path) == changed


async def test_a_store_with_an_unknown_file_is_not_made(api: Api) -> None:
    known = await upload(api)
    for unknown, code in (("file-none", 404), ("../x", 400)):
        body = {"file_ids": [known["id"], unknown]}
        status, error = await refusal(api, "POST", "/v1/vector_stores", json=body)
        assert (status, error["param"]) == (code, "file_ids")
    assert (await ask(api, "GET", "/v1/vector_stores"))["data"] == []


@pytest.mark.parametrize(
    ("below", "body", "param"),
    [
        ("files", {"file_id": "file-none"}, "file_id"),
        ("file_batches", {"file_ids": ["file-none"]}, "file_ids"),
        ("file_batches", {"files": [{"file_id": "file-none"}]}, "files"),
    ],
)
async def test_an_unknown_file_is_told_by_the_field_that_names_it(
    api: Api, below: str, body: dict[str, Any], param: str
) -> None:
    store = await ask(api, "POST", "/v1/vector_stores", {})
    path = f"/v1/vector_stores/{store['id']}/{below}"
    status, error = await refusal(api, "POST", path, json=body)
    assert (status, error["param"]) == (404, param)
    status, error = await refusal(api, "POST", f"/v1/vector_stores/vs_none/{below}", json=body)
    assert status == 404


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": "a", "max_num_results": 51}, "max_num_results"),
        ({"query": "a", "ranking_options": {"score_threshold": 1.5}}, "ranking_options.score_threshold"),
        ({"query": "a", "filters": {"type": "like", "key": "a", "value": "b"}}, "filters.type"),
        ({"query": "a", "filters": {"type": "eq", "key": "a", "value": ["b"]}}, "filters"),
        ({"query": "a", "rewrite_query": True}, "rewrite_query"),
    ],
)
async def test_a_search_that_cannot_be(api: Api, body: dict[str, Any], param: str) -> None:
    store = await ask(api, "POST", "/v1/vector_stores", {})
    status, error = await refusal(api, "POST", f"/v1/vector_stores/{store['id']}/search", json=body)
    assert status == 400
    assert (error["param"] or "").startswith(param)


@pytest.mark.parametrize("sizes", [(99, 10), (4097, 10), (200, 101), (200, -1)])
async def test_chunks_that_cannot_be(api: Api, sizes: tuple[int, int]) -> None:
    store = await ask(api, "POST", "/v1/vector_stores", {})
    file = await upload(api)
    static = {"max_chunk_size_tokens": sizes[0], "chunk_overlap_tokens": sizes[1]}
    body = {"file_id": file["id"], "chunking_strategy": {"type": "static", "static": static}}
    status, _ = await refusal(api, "POST", f"/v1/vector_stores/{store['id']}/files", json=body)
    assert status == 400
    assert (await ask(api, "GET", f"/v1/vector_stores/{store['id']}/files"))["data"] == []


async def test_unknown_ids_are_not_found(api: Api, tmp_path: Path) -> None:
    store = (await ask(api, "POST", "/v1/vector_stores", {}))["id"]
    for method, below in (
        ("GET", "/vs_none"),
        ("POST", "/vs_none/search"),
        ("GET", "/vs_none/files"),
        ("GET", "/..%2f..%2fetc"),
        ("GET", f"/{store}/files/file-no"),
        ("GET", f"/{store}/files/file-no/content"),
        ("GET", f"/{store}/file_batches/vsfb_no"),
    ):
        body = {"json": {"query": "a"}} if method == "POST" else {}
        status, _ = await refusal(api, method, f"/v1/vector_stores{below}", **body)
        assert status == 404, below
