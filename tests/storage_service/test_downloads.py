"""An assistant is `downloading` while its bytes are being sent, and not a moment longer; over real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jan import rpc
from jan.errors import ConflictError
from jan.ids import AssistantId
from jan.storage.v1 import assistant_imports_pb2 as imports_pb2
from jan.storage.v1 import assistants_pb2 as pb
from jan.storage.v1.assistant_imports_pb2_grpc import AssistantImportServiceStub
from storage_service.servicers.assistant_imports import _INTERRUPTED
from storage_service.store.store import Store
from tests.fixtures.assistant_zips import folder, zipped
from tests.fixtures.storage import StorageServer, serving_storage

BARD = AssistantId("bard")
URL = "https://files.test/shakespeare.zip"
Part = imports_pb2.ImportAssistantRequest


class Sender:
    """A gateway that sends a download, until it is told to go on."""

    def __init__(self, storage: StorageServer) -> None:
        self.stub = AssistantImportServiceStub(storage.channel)
        self.accepted = asyncio.Event()
        self.go_on = asyncio.Event()

    async def send(self) -> pb.Assistant:
        method = self.stub.ImportAssistant
        answer = await rpc.upload(method, self._parts(), deadline_seconds=30, on_accepted=self.accepted.set)
        return answer.assistant

    async def _parts(self) -> AsyncIterator[Part]:
        yield Part(download_id=BARD)
        yield Part(data=zipped(folder()))
        await self.go_on.wait()
        yield Part(end=imports_pb2.ImportEnd())


@pytest.fixture
async def sender(storage_server: StorageServer) -> Sender:
    return await registered(storage_server)


async def registered(storage: StorageServer) -> Sender:
    sender = Sender(storage)
    await sender.stub.RegisterAssistant(imports_pb2.RegisterAssistantRequest(assistant_id=BARD, source_url=URL))
    return sender


async def now(storage: StorageServer) -> pb.Assistant:
    return (await storage.assistants.GetAssistant(pb.GetAssistantRequest(assistant_id=BARD))).assistant


async def test_downloading_lasts_as_long_as_the_stream(storage_server: StorageServer, sender: Sender) -> None:
    assert (await now(storage_server)).state == pb.ASSISTANT_STATE_TO_DOWNLOAD
    sending = asyncio.create_task(sender.send())
    await sender.accepted.wait()
    assert (await now(storage_server)).state == pb.ASSISTANT_STATE_DOWNLOADING
    with pytest.raises(ConflictError):
        await Sender(storage_server).send()
    sender.go_on.set()
    assert (await sending).state == pb.ASSISTANT_STATE_READY
    assert (await now(storage_server)).name == "Shakespeare"


async def test_a_stream_that_breaks_off_ends_it(storage_server: StorageServer, sender: Sender) -> None:
    sending = asyncio.create_task(sender.send())
    await sender.accepted.wait()
    sending.cancel()
    while (await now(storage_server)).state == pb.ASSISTANT_STATE_DOWNLOADING:
        pass
    found = await now(storage_server)
    assert (found.state, found.error.code) == (pb.ASSISTANT_STATE_TO_DOWNLOAD, "download_interrupted")
    assert not list((storage_server.janroot / ".server" / "staging").iterdir())
    again = Sender(storage_server)
    again.go_on.set()
    assert (await again.send()).state == pb.ASSISTANT_STATE_READY


async def test_a_cancellation_ends_it_from_anywhere(storage_server: StorageServer, sender: Sender) -> None:
    sending = asyncio.create_task(sender.send())
    await sender.accepted.wait()
    answer = await sender.stub.CancelDownload(imports_pb2.CancelDownloadRequest(assistant_id=BARD))
    assert answer.assistant.error.code == "download_cancelled"
    sender.go_on.set()
    await asyncio.wait([sending])
    assert (await now(storage_server)).state == pb.ASSISTANT_STATE_TO_DOWNLOAD
    # What the sender hears of it depends on what it was doing; what counts is in the assistant.
    assert sending.exception() is not None or sending.result().error.code == "download_cancelled"


async def test_a_service_that_is_stopped_writes_down_that_it_broke_off(tmp_path: Path) -> None:
    store = await asyncio.to_thread(Store.open, tmp_path / "janroot")
    try:
        async with serving_storage(store, tmp_path / "janroot") as storage:
            sender = await registered(storage)
            sending = asyncio.create_task(sender.send())
            await sender.accepted.wait()
        sender.go_on.set()
        await asyncio.gather(sending, return_exceptions=True)
        found = await asyncio.to_thread(store.assistants.get, BARD)
        assert found.error == _INTERRUPTED
    finally:
        await asyncio.to_thread(store.close)
