"""What is given away names nobody: no key, no user, no address of those who asked."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import zipfile
from typing import Any

import pytest

from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.client import upload

KEY = "sk-of-ann-and-nobody-else"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()
ANN = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
async def asked(gateway: Gateway, worker: ScriptedWorker) -> str:
    """The thread of a response, beside a run, a stored chat and a batch, all asked for by name."""
    named = {"user": "ann@example.org", "safety_identifier": "ann-at-work", "prompt_cache_key": "cache-of-ann"}
    response, _ = await asyncio.gather(
        _post(gateway, "/v1/responses", {"model": MODEL_ID, "input": "Hi", **named}, ANN), worker.answer()
    )
    await asyncio.gather(
        _post(gateway, "/v1/responses", {"model": MODEL_ID, "input": "Hi", "user": "ann@example.org"}, {}),
        worker.answer(),
    )
    chat = {"model": MODEL_ID, "messages": [{"role": "user", "content": "Hi"}], "store": True}
    await asyncio.gather(_post(gateway, "/v1/chat/completions", chat, ANN), worker.answer())
    file = await upload(gateway.client, b"{}", purpose="batch")
    batch = {"input_file_id": file["id"], "endpoint": "/v1/responses", "completion_window": "24h"}
    await _post(gateway, "/v1/batches", batch, ANN)
    thread_id: str = response["thread_id"]
    return thread_id


async def test_an_export_names_nobody(gateway: Gateway, storage_server: StorageServer, asked: str) -> None:
    kept = await asyncio.to_thread((storage_server.janroot / "threads" / asked / "runs.jsonl").read_bytes)
    assert DIGEST[:16].encode() in kept
    for path in ("/v1/storage/export", f"/v1/threads/{asked}/export"):
        async with gateway.client.get(path) as answer:
            data = await answer.read()
        for private in (
            KEY,
            DIGEST[:16],
            '"tenant"',
            "peer:",
            "ann@example.org",
            "ann-at-work",
            "cache-of-ann",
        ):
            assert private.encode() not in data
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            [name] = [name for name in archive.namelist() if name.endswith(f"{asked}/runs.jsonl")]
            shared = [json.loads(line) for line in archive.read(name).splitlines()]
        told = [
            {**run, "response": {**run["response"], "told_back": None}} if "response" in run else run for run in shared
        ]
        assert told == [_unnamed(json.loads(line)) for line in kept.splitlines()]


async def test_what_was_given_away_is_known_again(gateway: Gateway, asked: str) -> None:
    async with gateway.client.get(f"/v1/threads/{asked}/export") as answer:
        data = await answer.read()
    headers = {"Content-Type": "application/zip"}
    async with gateway.client.post("/v1/threads/import", data=data, headers=headers) as answer:
        report = await answer.json()
    assert report["already_here"] == [{"kind": "thread", "id": asked}]
    assert report["quarantined"] == []


async def test_a_backup_keeps_who_asked(gateway: Gateway, asked: str) -> None:
    async with gateway.client.get("/v1/storage/backup") as answer:
        assert DIGEST[:16].encode() in await answer.read()


def _unnamed(run: dict[str, Any]) -> dict[str, Any]:
    run.pop("tenant", None)
    if "response" in run:
        run["response"]["told_back"] = None
    return run


async def _post(gateway: Gateway, path: str, body: Any, headers: dict[str, str]) -> Any:
    async with gateway.client.post(path, json=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()
