"""A restore by the service as a process: it leaves, is started again, and is another janroot then."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc import aio

from jan import rpc
from jan.errors import ConflictError, InvalidArgumentError, JanError, UnavailableError
from jan.storage.v1 import archives_pb2, threads_pb2, trash_pb2
from jan.storage.v1.archives_pb2_grpc import ArchiveServiceStub
from jan.storage.v1.threads_pb2_grpc import ThreadServiceStub
from jan.storage.v1.trash_pb2_grpc import TrashServiceStub
from tests.fixtures.jan_files import put
from tests.fixtures.storage_process import Service

pytestmark = pytest.mark.slow

RESTORING = 75


async def back_up(channel: aio.Channel) -> bytes:
    request = archives_pb2.ExportJanrootRequest(kind=archives_pb2.ARCHIVE_KIND_BACKUP)
    parts = rpc.download(ArchiveServiceStub(channel).ExportJanroot, request, deadline_seconds=30)
    return b"".join([part.data async for part in parts])


async def send(channel: aio.Channel, data: bytes, *, ends: bool = True) -> archives_pb2.RestoreJanrootResponse:
    async def parts() -> AsyncIterator[archives_pb2.RestoreJanrootRequest]:
        for offset in range(0, len(data), 100_000):
            yield archives_pb2.RestoreJanrootRequest(data=data[offset : offset + 100_000])
        if ends:
            yield archives_pb2.RestoreJanrootRequest(end=archives_pb2.EndOfBackup())

    return await rpc.upload(ArchiveServiceStub(channel).RestoreJanroot, parts(), deadline_seconds=30)


async def titles(channel: aio.Channel) -> list[str]:
    listed = await rpc.call(ThreadServiceStub(channel).ListThreads, threads_pb2.ListThreadsRequest())
    return sorted(thread.title for thread in listed.threads)


async def found(channel: aio.Channel, word: str) -> list[str]:
    request = threads_pb2.SearchThreadsRequest(query=word)
    matches = (await rpc.call(ThreadServiceStub(channel).SearchThreads, request)).matches
    return [match.thread.title for match in matches]


async def until(channel: aio.Channel, wanted: list[str]) -> None:
    """Wait until the threads are others."""
    while True:
        try:
            if await titles(channel) == wanted:
                return
        except JanError:
            continue


def write(janroot: Path, title: str) -> None:
    put(janroot / f"threads/{title}_1704504633/thread.json", {"title": title, "created": 1704504633123})
    put(janroot / f"threads/{title}_1704504633/messages.jsonl", '{"id":"m","role":"user","content":"apples"}\n')


async def test_it_leaves_and_comes_back_as_another(service: Service) -> None:
    await asyncio.to_thread(write, service.janroot, "old")
    async with service.supervised() as (codes, channel):
        data = await back_up(channel)
        await asyncio.to_thread(os.rename, service.janroot / "threads", service.janroot / "elsewhere")
        await asyncio.to_thread(write, service.janroot, "new")
        await until(channel, ["new"])
        told = await send(channel, data)
        assert (told.threads, told.trash_id[:8]) == (1, "janroot-")
        await until(channel, ["old"])
        assert codes == [RESTORING]
        while await found(channel, "apples") != ["old"]:
            pass
        stub = TrashServiceStub(channel)
        [entry] = (await rpc.call(stub.ListTrash, trash_pb2.ListTrashRequest())).entries
        assert (entry.id, entry.kind, entry.count) == (told.trash_id, "janroot", 1)
        await rpc.call(stub.RestoreTrash, trash_pb2.RestoreTrashRequest(trash_id=entry.id))
        await until(channel, ["new"])
        assert codes == [RESTORING, RESTORING]
    assert not (service.janroot / ".server/restoring").exists()


async def test_what_breaks_off_changes_nothing(service: Service) -> None:
    await asyncio.to_thread(write, service.janroot, "old")
    async with service.running() as (process, channel):
        data = await back_up(channel)
        for broken, ends in ((data, False), (data[:-1], True), (b"", True)):
            with pytest.raises(InvalidArgumentError):
                await send(channel, broken, ends=ends)
        process.send_signal(signal.SIGSTOP)
        sending = asyncio.create_task(send(channel, data * 20, ends=False))
        process.send_signal(signal.SIGCONT)
        await asyncio.wait([sending], timeout=0.05)
        process.kill()
        with pytest.raises(JanError):
            await sending
    async with service.running() as (_, channel):
        assert await titles(channel) == ["old"]
        assert not list((service.janroot / ".server/staging").iterdir())


async def test_a_kill_in_the_middle_reads_as_unavailable(service: Service) -> None:
    async with service.running() as (process, channel):

        async def endless() -> AsyncIterator[archives_pb2.RestoreJanrootRequest]:
            for number in itertools.count():
                if number == 5:
                    process.kill()
                yield archives_pb2.RestoreJanrootRequest(data=bytes(100_000))

        with pytest.raises(UnavailableError) as raised:
            await rpc.upload(ArchiveServiceStub(channel).RestoreJanroot, endless(), deadline_seconds=30)
        assert raised.value.retry_after_seconds == 1


async def test_one_at_a_time(service: Service) -> None:
    async with service.running() as (_, channel):
        may_end = asyncio.Event()

        async def slowly() -> AsyncIterator[archives_pb2.RestoreJanrootRequest]:
            yield archives_pb2.RestoreJanrootRequest(data=b"x")
            await may_end.wait()

        method = ArchiveServiceStub(channel).RestoreJanroot
        first = asyncio.create_task(rpc.upload(method, slowly(), deadline_seconds=30))
        while not list((service.janroot / ".server/staging").glob("restore-*.zip")):
            await titles(channel)
        with pytest.raises(ConflictError):
            await send(channel, b"y")
        may_end.set()
        with pytest.raises(InvalidArgumentError):
            await first
        with pytest.raises(InvalidArgumentError):
            await send(channel, b"y")
