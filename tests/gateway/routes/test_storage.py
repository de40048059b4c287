"""The report on the janroot over HTTP, and Jan's old threads as OpenAI's clients see them."""

from __future__ import annotations

import asyncio

import pytest

from tests.fixtures import jan_folders as jan
from tests.fixtures.gateway import running_gateway
from tests.fixtures.jan_files import put
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.gateway.client import Api, ask, refusal
from tests.gateway.routes.test_search_by_meaning import add_embedder


async def test_a_healthy_janroot(api: Api) -> None:
    assert await ask(api, "GET", "/v1/storage/report") == {
        "object": "storage.report",
        "needs_hand": False,
        "counts": {"error": 0, "warning": 0, "info": 0},
        "findings": [],
        "has_more": False,
    }


async def test_findings(api: Api, storage_server: StorageServer) -> None:
    await asyncio.to_thread(put, storage_server.janroot / "threads/jan_1705000001/thread.json", "{")
    await asyncio.to_thread(put, storage_server.janroot / "threads/notes.txt", "mine")
    report = await ask(api, "GET", "/v1/storage/report")
    assert (report["needs_hand"], report["has_more"]) == (True, False)
    assert report["counts"] == {"error": 0, "warning": 1, "info": 1}
    invalid, stray = report["findings"]
    assert invalid == {
        "object": "storage.finding",
        "path": "threads/jan_1705000001/thread.json",
        "kind": "invalid_json",
        "severity": "warning",
        "meaning": invalid["meaning"],
        "action": invalid["action"],
        "detail": "",
    }
    assert (stray["path"], stray["severity"]) == ("threads/notes.txt", "info")
    cut = await ask(api, "GET", "/v1/storage/report", limit="1")
    assert (cut["findings"], cut["has_more"], cut["counts"]) == ([invalid], True, report["counts"])


async def test_models_that_embed(storage_server: StorageServer, redis_server: RedisServer, redis: object) -> None:
    store = storage_server.janroot / "vector_stores/vs_1"
    embedding = {"model": "embedder", "revision": "old", "dimensions": 2}
    await asyncio.to_thread(put, store / "vector_store.json", {"embedding": embedding})
    await asyncio.to_thread(put, store / "files/file-a.json", {"status": "failed"})
    await asyncio.to_thread(put, storage_server.janroot / "files/file-a", "x")
    add_embedder(storage_server.janroot)
    add_embedder(storage_server.janroot, "chat", settings={})
    for wanted, kinds in (
        ("", ["embedded_anew"]),
        ("embedder", ["embedded_anew"]),
        ("gone", ["embedder_gone", "no_embedder"]),
        ("chat", ["embedder_gone", "no_embedder"]),
        ("none", ["embedder_gone"]),
    ):
        async with running_gateway(storage_server, redis_server, JANROOT_EMBEDDING_MODEL=wanted) as gateway:
            report = await gateway.json("GET", "/v1/storage/report")
            told = sorted(finding["kind"] for finding in report["findings"])
            assert [kind for kind in told if "embed" in kind] == kinds, wanted


@pytest.mark.parametrize("limit", ["0", "-1", "10001", "many", "", "9" * 40])
async def test_a_limit_out_of_bounds_is_refused(api: Api, limit: str) -> None:
    status, error = await refusal(api, "GET", "/v1/storage/report", params={"limit": limit})
    assert (status, error["param"]) == (400, "limit")


async def test_jans_attachments_are_openais_parts(api: Api, storage_server: StorageServer) -> None:
    thread_id = await asyncio.to_thread(jan.v04_thread, storage_server.janroot)
    messages = (await ask(api, "GET", f"/v1/threads/{thread_id}/messages", order="asc"))["data"]
    assert messages[2]["content"][1] == {"type": "image_file", "image_file": {"file_id": jan.IMAGE_NAME}}
    assert messages[3]["attachments"] == [{"file_id": jan.PDF_NAME, "tools": [{"type": "file_search"}]}]
    assert messages[4]["content"][1]["image_url"]["url"] == jan.PNG_URL


async def test_a_flat_thread_is_continued(api: Api, storage_server: StorageServer) -> None:
    thread_id = await asyncio.to_thread(jan.flat_thread, storage_server.janroot)
    [thread] = (await ask(api, "GET", "/v1/threads"))["data"]
    assert (thread["id"], thread["title"], thread["created_at"]) == (thread_id, "fractions", 1700120003)
    body = {"role": "user", "content": "And a decimal?"}
    made = await ask(api, "POST", f"/v1/threads/{thread_id}/messages", body)
    messages = (await ask(api, "GET", f"/v1/threads/{thread_id}/messages", order="asc"))["data"]
    assert [message["id"] for message in messages] == ["msg_0", "msg_1", made["id"]]


async def test_jan_06s_parts_are_handed_on(api: Api, storage_server: StorageServer) -> None:
    thread_id = await asyncio.to_thread(jan.v06_thread, storage_server.janroot)
    messages = (await ask(api, "GET", f"/v1/threads/{thread_id}/messages", order="asc"))["data"]
    assert messages[1]["content"] == [jan.REASONING, jan.CALL, *jan.text("Sunny.")]
    assert messages[2]["role"] == "tool"
