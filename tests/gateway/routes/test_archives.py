"""Exports of a thread: its files, a page to read, or what the API says of it."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.jan_files import put
from tests.fixtures.storage import StorageServer
from tests.gateway.client import Api, ask, refusal, upload


async def fetch(api: Api, path: str, content_type: str) -> bytes:
    async with api.get(path) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == content_type
        assert answer.headers["Content-Security-Policy"].startswith("sandbox")
        assert "attachment; filename=" in answer.headers["Content-Disposition"]
        return await answer.read()


async def say(api: Api, thread: dict[str, Any], text: str, **fields: Any) -> dict[str, Any]:
    return await ask(api, "POST", f"/v1/threads/{thread['id']}/messages", {"role": "user", "content": text, **fields})


@pytest.mark.parametrize("query", ["", "?format=zip"])
async def test_a_zip_of_its_files(api: Api, storage_server: StorageServer, thread: dict[str, Any], query: str) -> None:
    file_id = (await upload(api))["id"]
    await say(api, thread, "Hi", file_ids=[file_id])
    data = await fetch(api, f"/v1/threads/{thread['id']}/export{query}", "application/zip")
    folder = storage_server.janroot / "threads" / thread["id"]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        names = {f"{thread['id']}/", f"{thread['id']}/thread.json", f"{thread['id']}/messages.jsonl"}
        assert set(archive.namelist()) == names | {f"files/{file_id}", f"files/{file_id}.json"}
        stored = await asyncio.to_thread((folder / "messages.jsonl").read_bytes)
        assert archive.read(f"{thread['id']}/messages.jsonl") == stored


async def test_what_the_api_says_of_it(api: Api, thread: dict[str, Any]) -> None:
    path = f"/v1/threads/{thread['id']}"
    assert json.loads(await fetch(api, f"{path}/export?format=json", "application/json"))["messages"] == []
    said = [await say(api, thread, f"Message {number}", metadata={"n": "1"}) for number in range(120)]
    whole = json.loads(await fetch(api, f"{path}/export?format=json", "application/json"))
    assert whole == {"thread": await ask(api, "GET", path), "messages": said}


async def test_a_page_to_read(api: Api) -> None:
    thread = await ask(api, "POST", "/v1/threads", {"title": "Trip\n# budget"})
    file_id = (await upload(api, filename="plan.txt"))["id"]
    await say(api, thread, "What does *Rome* cost?", file_ids=[file_id])
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    await say(api, thread, "", content=[{"type": "text", "text": "Look:"}, image])
    page = (await fetch(api, f"/v1/threads/{thread['id']}/export?format=markdown", "text/markdown")).decode()
    head, first, second = page.split("\n---\n\n")
    assert head.startswith(f"# Trip # budget\n\nThread `{thread['id']}`, begun 20")
    assert first.startswith("## User · 20")
    assert first.endswith(" UTC\n\nWhat does *Rome* cost?\n\n- file: plan.txt\n")
    assert second.endswith(" UTC\n\nLook:\n\n*(an image inside the message)*\n")


def old_thread(janroot: Path) -> None:
    folder = janroot / "threads" / "jan_1704504633"
    folder.mkdir(parents=True)
    lines = [
        {"id": "m1", "role": "user", "content": [{"type": "reasoning", "text": "Hm"}], "created": 1704504640111},
        {"id": "m2", "role": "assistant", "status": "stopped", "content": "Ro\ud800me", "created": 1704504650111},
    ]
    (folder / "messages.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


async def test_a_thread_of_old_as_a_page(api: Api, storage_server: StorageServer) -> None:
    await asyncio.to_thread(old_thread, storage_server.janroot)
    page = (await fetch(api, "/v1/threads/jan_1704504633/export?format=markdown", "text/markdown")).decode()
    assert page.startswith("# Untitled conversation\n")
    assert '## User · 2024-01-06 01:30:40 UTC\n\n```json\n{\n  "type": "reasoning"' in page


@pytest.mark.parametrize("wanted", ["zip", "markdown", "json"])
async def test_an_unknown_thread(api: Api, wanted: str) -> None:
    assert (await refusal(api, "GET", f"/v1/threads/jan_1/export?format={wanted}"))[0] == 404


async def test_an_unknown_format(api: Api, thread: dict[str, Any]) -> None:
    status, error = await refusal(api, "GET", f"/v1/threads/{thread['id']}/export?format=pdf")
    assert (status, error["param"]) == (400, "format")


def target_of(link: Path) -> str:
    """What an open descriptor leads to; nothing for one that was closed meanwhile."""
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""


async def test_a_reader_that_leaves_in_the_middle_leaves_nothing_open(
    api: Api, storage_server: StorageServer, thread: dict[str, Any]
) -> None:
    folder = storage_server.janroot / "threads" / thread["id"]
    await asyncio.to_thread((folder / "large.bin").write_bytes, bytes(50_000_000))
    async with api.get(f"/v1/threads/{thread['id']}/export") as answer:
        await answer.content.readexactly(100_000)
        answer.close()

    def is_open() -> bool:
        return any(str(folder) in target for target in map(target_of, Path("/proc/self/fd").iterdir()))

    async with asyncio.timeout(20):
        while await asyncio.to_thread(is_open):
            await ask(api, "GET", f"/v1/threads/{thread['id']}")


@pytest.mark.parametrize(("kind", "weights"), [("backup", ""), ("backup", "?weights=true"), ("export", "")])
async def test_a_whole_janroot(
    api: Api, storage_server: StorageServer, thread: dict[str, Any], kind: str, weights: str
) -> None:
    await asyncio.to_thread(put, storage_server.janroot / "models/big/big.gguf", b"G" * 3_000_000)
    await asyncio.to_thread(put, storage_server.janroot / "engines/openai.json", {"api_key": "sk-canary"})
    await say(api, thread, "Hi")
    async with api.get(f"/v1/storage/{kind}{weights}") as answer:
        assert answer.status == 200
        assert f'filename="janroot-{kind}-20' in answer.headers["Content-Disposition"]
        announced = int(answer.headers["X-Janroot-Total-Bytes"])
        assert answer.headers["X-Janroot-Threads"] == "1"
        assert answer.headers["X-Janroot-Left-Out"] == ("0" if weights else "1")
        data = await answer.read()
    assert abs(len(data) - announced) < 3000
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == f"janroot-{kind}.json"
        assert f"threads/{thread['id']}/messages.jsonl" in archive.namelist()
        assert ("models/big/big.gguf" in archive.namelist()) == bool(weights)
        assert (b"sk-canary" in archive.read("engines/openai.json")) == (kind == "backup")


async def test_storage_answers_while_somebody_takes_a_backup_slowly(
    api: Api, storage_server: StorageServer, thread: dict[str, Any]
) -> None:
    await asyncio.to_thread(put, storage_server.janroot / "files/large", bytes(30_000_000))
    async with api.get("/v1/storage/backup") as slow:
        await slow.content.readexactly(1000)
        for number in range(20):
            await say(api, thread, str(number))
        async with api.get("/v1/storage/backup") as quick:
            assert len(await quick.read()) > 30_000_000
        assert len(await slow.content.read()) > 29_000_000


async def test_a_parameter_that_is_no_flag(api: Api) -> None:
    status, error = await refusal(api, "GET", "/v1/storage/backup?weights=1")
    assert (status, error["param"]) == (400, "weights")


async def test_a_misspelt_dry_run_restores_nothing(api: Api, thread: dict[str, Any]) -> None:
    async with api.get("/v1/storage/backup") as answer:
        backup = await answer.read()
    for params in ({"dryrun": "true"}, {"dry_run": "1"}):
        status, error = await refusal(
            api, "POST", "/v1/storage/restore", data=backup, headers={"Content-Type": "application/zip"}, params=params
        )
        assert (status, error["param"]) == (400, next(iter(params)))
    assert (await ask(api, "GET", "/v1/trash"))["data"] == []
    assert await ask(api, "GET", f"/v1/threads/{thread['id']}") == thread
