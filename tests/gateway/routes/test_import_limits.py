"""Imports that wait, stand still, fill the disk, or whose client leaves in the middle of the publishing."""

from __future__ import annotations

import asyncio
import io
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.http import uploads
from jan import rpc
from jan.storage.v1 import imports_pb2 as pb
from jan.storage.v1.imports_pb2_grpc import ImportServiceStub
from storage_service.servicers import imports
from storage_service.store.census import Census
from tests.fixtures import zips
from tests.fixtures.gateway import Gateway
from tests.fixtures.storage import StorageServer
from tests.gateway.client import Api

PATH = "/v1/threads/import"
ZIP = {"Content-Type": "application/zip"}


def many(count: int) -> bytes:
    return zips.zip_of({f"threads/jan_{number}/thread.json": b"{}" for number in range(count)})


def in_staging(storage: StorageServer) -> list[Path]:
    return list((storage.janroot / ".server/staging").iterdir())


async def until_staged(storage: StorageServer, count: int) -> None:
    async with asyncio.timeout(10):
        while len(await asyncio.to_thread(in_staging, storage)) != count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_more_that_wait_than_fit_are_refused_until_one_is_done(
    gateway: Gateway, api: Api, storage_server: StorageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "MOST_UPLOADS", 1)
    data, go_on = many(1), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield data[:10]
        await go_on.wait()
        yield data[10:]

    first = asyncio.create_task(gateway.client.post(PATH, data=slow(), headers=ZIP))
    await until_staged(storage_server, 1)
    async with api.post(PATH, data=io.BytesIO(data), headers=ZIP) as refused:
        error = (await refused.json())["error"]
        assert (refused.status, error["code"], "Retry-After" in refused.headers) == (429, "too_many_imports", True)
    go_on.set()
    async with await first as answer:
        assert answer.status == 200
    async with api.post(PATH, data=io.BytesIO(data), headers=ZIP) as answer:
        assert answer.status == 200


async def test_a_file_stops_where_others_need_the_rest_of_the_disk(
    gateway: Gateway, storage_server: StorageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_full, is_gone = asyncio.Event(), asyncio.Event()

    async def filling() -> AsyncIterator[bytes]:
        yield b"x" * uploads.PIECE_BYTES
        await is_full.wait()
        yield b"x" * uploads.PIECE_BYTES
        await is_gone.wait()

    upload = asyncio.create_task(gateway.client.post(PATH, data=filling(), headers=ZIP))
    await until_staged(storage_server, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=64 * 1024 * 1024))
    is_full.set()
    await until_staged(storage_server, 0)  # while the client still sends
    is_gone.set()
    async with await upload as answer:
        assert answer.status == 507


async def test_one_that_stands_still_is_dropped(
    gateway: Gateway, storage_server: StorageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "IDLE_SECONDS", 0.2)
    never = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield many(1)[:10]
        await never.wait()

    async with gateway.client.post(PATH, data=stalled(), headers=ZIP) as answer:
        body: dict[str, Any] = await answer.json()
    assert (answer.status, body["error"]["code"]) == (400, "upload_stalled")
    await until_staged(storage_server, 0)


async def test_what_is_being_published_is_published_and_shown_whoever_leaves(
    storage_server: StorageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "_TELL_SECONDS", 0.0)
    monkeypatch.setattr(imports, "_SLICE_SECONDS", 0.0)
    visit, shown = Census.visit_each, set[str]()

    def note(census: Census, ids: Iterable[Any]) -> None:
        found = list(ids)
        shown.update(found)
        visit(census, found)

    monkeypatch.setattr(Census, "visit_each", note)
    data = many(100)

    async def parts() -> AsyncIterator[pb.ImportRequest]:
        yield pb.ImportRequest(data=data)
        yield pb.ImportRequest(options=pb.ImportOptions())

    stub = ImportServiceStub(storage_server.channel)
    async with aclosing(rpc.exchange(stub.Import, parts(), deadline_seconds=60)) as answers:
        async for answer in answers:
            if answer.progress.stage == "publishing" and answer.progress.done >= 20:
                break
    await until_staged(storage_server, 0)
    assert {f"jan_{number}" for number in range(100)} <= shown
