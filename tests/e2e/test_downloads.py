"""A download that a kill breaks off is not under way any more, says so, and can be begun again."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fixtures.assistant_zips import folder, zipped
from tests.fixtures.other_server import OtherServer, other_server
from tests.fixtures.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture
async def other() -> AsyncIterator[OtherServer]:
    async with other_server() as server:
        yield server


@pytest.fixture
async def downloading(stack: Stack, other: OtherServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stack]:
    """The product with a gateway that may download from the other server."""
    await restart(stack, "gateway", monkeypatch, f"127.0.0.1:{other.port}")
    yield stack
    await restart(stack, "gateway", monkeypatch, "")


async def restart(stack: Stack, name: str, monkeypatch: pytest.MonkeyPatch, hosts: str) -> None:
    monkeypatch.setenv("JANROOT_DOWNLOAD_HOSTS", hosts)
    await asyncio.to_thread(stack.kill, name)
    await asyncio.to_thread(stack.start, name)
    await asyncio.to_thread(stack.until_ready)


async def ask(stack: Stack, method: str, path: str, body: Any = None) -> dict[str, Any]:
    def send() -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{stack.url}{path}", data, {"Content-Type": "application/json"})
        request.method = method
        with urllib.request.urlopen(request, timeout=30) as answer:
            value: dict[str, Any] = json.load(answer)
            return value

    return await asyncio.to_thread(send)


async def settled(stack: Stack, assistant_id: str) -> dict[str, Any]:
    while True:
        assistant = await ask(stack, "GET", f"/v1/assistants/{assistant_id}")
        if assistant["state"] != "downloading":
            return assistant


@pytest.mark.parametrize("name", ["gateway", "storage_service"])
async def test_a_kill_in_mid_download(
    downloading: Stack, other: OtherServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    stack, assistant_id = downloading, f"bard-{name}"
    path = f"/v1/assistants/{assistant_id}"
    url = other.url(f"/stalls?{name}")
    begun = await ask(stack, "POST", "/v1/assistants/import", {"url": url, "id": assistant_id})
    assert begun["state"] == "downloading"
    await restart(stack, name, monkeypatch, f"127.0.0.1:{other.port}")
    broken = await settled(stack, assistant_id)
    assert broken["state"] == "to_download"
    if name == "gateway":  # a storage service that is killed has nobody to write it down
        assert broken["error"]["code"] == "download_interrupted"
    assert not list((stack.janroot / ".server" / "staging").iterdir())
    other.files["/stalls"] = zipped(folder())
    await ask(stack, "POST", f"{path}/download")
    ready = await settled(stack, assistant_id)
    assert (ready["state"], ready["name"], ready["error"]) == ("ready", "Shakespeare", None)
    await ask(stack, "DELETE", path)
