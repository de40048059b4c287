"""The service as a process: killed, stopped, started twice, and left by its disk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import socket
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable

import pytest
from grpc import aio

from jan import rpc
from jan.errors import JanError, NotFoundError, UnavailableError
from jan.storage.v1 import files_pb2, imports_pb2, messages_pb2, models_pb2, threads_pb2
from jan.storage.v1.files_pb2_grpc import FileServiceStub
from jan.storage.v1.imports_pb2_grpc import ImportServiceStub
from jan.storage.v1.messages_pb2_grpc import MessageServiceStub
from jan.storage.v1.models_pb2_grpc import ModelServiceStub
from jan.storage.v1.threads_pb2_grpc import ThreadServiceStub
from tests.fixtures import zips
from tests.fixtures.storage_process import Service, told

pytestmark = pytest.mark.slow

# The same program on a disk whose fsync fails from the moment that a file named `broken` lies in the janroot.
BREAKING = """
import errno, os
from storage_service.__main__ import main
really = os.fsync
def fsync(fd):
    if os.path.exists(os.path.join(os.environ["JANROOT_PATH"], "broken")):
        raise OSError(errno.EIO, "Input/output error")
    really(fd)
os.fsync = fsync
main()
"""
LOST = 69
ON_A_BREAKING_DISK = ("-c", BREAKING)


async def create_thread(channel: aio.Channel) -> str:
    made = await rpc.call(ThreadServiceStub(channel).CreateThread, threads_pb2.CreateThreadRequest())
    return made.thread.id


async def append(channel: aio.Channel, thread_id: str, name: str) -> None:
    content = json.dumps([{"type": "text", "text": {"value": "x" * 500, "annotations": []}}])
    message = messages_pb2.Message(
        id=name, thread_id=thread_id, role=messages_pb2.MESSAGE_ROLE_USER, content_json=content
    )
    await rpc.call(MessageServiceStub(channel).CreateMessage, messages_pb2.CreateMessageRequest(message=message))


def stored(service: Service, thread_id: str) -> list[str]:
    """The ids in a thread's file, read without the store; what is no JSON line is left out."""
    ids = []
    for line in (service.janroot / "threads" / thread_id / "messages.jsonl").read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            ids.append(json.loads(line)["id"])
    return ids


async def test_what_was_acknowledged_survives_kill_9(service: Service) -> None:
    acknowledged: dict[str, list[str]] = {}
    chance = random.Random(20261122)

    async def write(channel: aio.Channel, thread_id: str, lap: int, kill_after: int, process: Process) -> None:
        number = 0
        while True:
            name = f"msg_{lap}_{number}"
            await append(channel, thread_id, name)
            acknowledged[thread_id].append(name)
            number += 1
            if number == kill_after:
                process.kill()

    for lap in range(5):
        async with service.running() as (process, channel):
            for thread_id in acknowledged:
                page = messages_pb2.ListMessagesRequest(thread_id=thread_id)
                assert len((await rpc.call(MessageServiceStub(channel).ListMessages, page)).messages) > 0
            for _ in range(2):
                acknowledged[await create_thread(channel)] = []
            writers = [write(channel, thread_id, lap, chance.randint(5, 60), process) for thread_id in acknowledged]
            results = await asyncio.gather(*writers, return_exceptions=True)
            assert all(isinstance(result, JanError) for result in results), results
            assert await process.wait() == -signal.SIGKILL
        for thread_id, names in acknowledged.items():
            found = await asyncio.to_thread(stored, service, thread_id)
            assert [name for name in found if name in set(names)] == names
            assert len(set(found)) == len(found)
    assert sum(map(len, acknowledged.values())) > 100


async def test_what_many_were_told_of_one_thread_survives_kill_9(service: Service) -> None:
    acknowledged: list[list[str]] = []
    chance = random.Random(20261126)

    async def write(
        channel: aio.Channel, thread_id: str, writer: str, names: list[str], then: Callable[[], None]
    ) -> None:
        while True:
            name = f"msg_{writer}_{len(names)}"
            await append(channel, thread_id, name)
            names.append(name)
            if len(names) == 3:
                then()

    async with service.running() as (_, channel):
        thread_id = await create_thread(channel)
    for lap in range(3):
        async with service.running() as (process, channel):
            killer = chance.randrange(32)
            writers = []
            for number in range(32):
                acknowledged.append([])
                then = process.kill if number == killer else lambda: None
                writers.append(write(channel, thread_id, f"{lap}_{number}", acknowledged[-1], then))
            results = await asyncio.gather(*writers, return_exceptions=True)
            assert all(isinstance(result, JanError) for result in results), results
        found = await asyncio.to_thread(stored, service, thread_id)
        assert len(set(found)) == len(found)
        for names in acknowledged:
            assert [name for name in found if name in set(names)] == names
    assert sum(map(len, acknowledged)) > 100


async def upload_file(channel: aio.Channel, name: str, pieces: int, then: Callable[[], None] = lambda: None) -> None:
    """Send a file of many pieces; `then` is called when half of them are sent."""

    async def parts() -> AsyncIterator[files_pb2.CreateFileRequest]:
        for number in range(pieces):
            if number == pieces // 2:
                then()
            yield files_pb2.CreateFileRequest(data=bytes([number]) * 10_000)
        yield files_pb2.CreateFileRequest(file=files_pb2.NewFile(id=name, filename="a", purpose="batch"))

    await rpc.upload(FileServiceStub(channel).CreateFile, parts(), deadline_seconds=30)


async def test_an_upload_cut_by_kill_9_leaves_nothing_and_a_whole_one_stays(service: Service) -> None:
    whole, broken = "file-000000000000000000000001", "file-000000000000000000000002"
    async with service.running() as (process, channel):
        await upload_file(channel, whole, 100)
        with pytest.raises(JanError):
            await upload_file(channel, broken, 100, process.kill)
        await process.wait()
    async with service.running() as (process, channel):
        listed = await rpc.call(FileServiceStub(channel).ListFiles, files_pb2.ListFilesRequest())
        assert [(file.id, file.size_bytes) for file in listed.files] == [(whole, 1_000_000)]
        data = b""
        async for part in rpc.download(
            FileServiceStub(channel).ReadFile, files_pb2.ReadFileRequest(file_id=whole), deadline_seconds=30
        ):
            data += part.data
        assert data == b"".join(bytes([number]) * 10_000 for number in range(100))
    left = [path.name for folder in ("files", ".server/staging") for path in (service.janroot / folder).iterdir()]
    assert sorted(left) == [whole, f"{whole}.json"]


async def test_sigterm_ends_it_cleanly_and_soon(service: Service) -> None:
    async with service.running() as (process, channel):
        thread_id = await create_thread(channel)
        assert (service.run_dir / "storage_service.pid").read_text().strip() == str(process.pid)
        writing = [asyncio.create_task(append(channel, thread_id, f"msg_{number}")) for number in range(20)]
        await writing[0]
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 5) == 0
        results = await asyncio.gather(*writing, return_exceptions=True)
        accepted = [f"msg_{number}" for number, result in enumerate(results) if result is None]
        assert set(accepted) <= set(await asyncio.to_thread(stored, service, thread_id))
    assert not (service.run_dir / "storage_service.pid").exists()


async def test_a_second_process_names_the_first_and_leaves(service: Service) -> None:
    async with service.running() as (first, channel):
        elsewhere = await service.launch(run_dir=service.run_dir.with_name("other"))
        assert await told(elsewhere) == (
            f"storage_service: The janroot {service.janroot} is already in use by "
            f"pid {first.pid} on host {socket.gethostname()}."
        )
        assert elsewhere.returncode == 1
        beside = await service.launch()
        assert f"already running with pid {first.pid}" in await told(beside)
        assert beside.returncode == 1
        assert (service.run_dir / "storage_service.pid").read_text().strip() == str(first.pid)
        await create_thread(channel)
    async with service.running() as (_, channel):
        listed = await rpc.call(ThreadServiceStub(channel).ListThreads, threads_pb2.ListThreadsRequest())
        assert len(listed.threads) == 1


async def test_a_failed_fsync_ends_it_without_an_answer(service: Service) -> None:
    async with service.running(ON_A_BREAKING_DISK) as (process, channel):
        thread_id = await create_thread(channel)
        await append(channel, thread_id, "msg_1")
        (service.janroot / "broken").touch()
        with pytest.raises(UnavailableError):
            await append(channel, thread_id, "msg_2")
        assert await asyncio.wait_for(process.wait(), 5) == os.EX_IOERR
    (service.janroot / "broken").unlink()
    async with service.running() as (_, channel):
        await append(channel, thread_id, "msg_3")
        found = await asyncio.to_thread(stored, service, thread_id)
        assert (found[0], found[-1]) == ("msg_1", "msg_3")


async def test_it_listens_on_tcp_too(service: Service) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        service.address = f"127.0.0.1:{probe.getsockname()[1]}"
    async with service.running() as (_, channel):
        with pytest.raises(NotFoundError):
            await rpc.call(ModelServiceStub(channel).GetModel, models_pb2.GetModelRequest(model_id="none"))


@pytest.mark.parametrize("obstacle", ["threads", ".server"])
async def test_a_janroot_that_cannot_be_used_is_told_in_one_sentence(service: Service, obstacle: str) -> None:
    service.janroot.mkdir()
    (service.janroot / obstacle).write_text("a file where a folder belongs")
    process = await service.launch()
    assert (await told(process)).startswith(f"storage_service: cannot use the janroot {service.janroot}: ")
    assert process.returncode == 1


async def test_a_busy_address_is_told_in_one_sentence(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        service.address = f"127.0.0.1:{other.getsockname()[1]}"
        process = await service.launch()
        assert (await told(process)).startswith(f"storage_service: Cannot listen on {service.address}")
        assert process.returncode == 1


IMPORTED = 400


def archive() -> bytes:
    """A Jan folder of many threads."""
    return zips.zip_of(
        {
            f"threads/jan_{1_700_000_000 + number}/{name}": data
            for number in range(IMPORTED)
            for name, data in {"thread.json": b"{}", "messages.jsonl": b'{"id":"a","role":"user"}\n'}.items()
        }
    )


async def import_parts(data: bytes) -> AsyncIterator[imports_pb2.ImportRequest]:
    yield imports_pb2.ImportRequest(data=data)
    yield imports_pb2.ImportRequest(options=imports_pb2.ImportOptions())


@pytest.mark.parametrize(("how", "stage"), [("TERM", "reading"), ("KILL", "reading"), ("KILL", "publishing")])
async def test_an_import_that_a_signal_meets_leaves_whole_threads(service: Service, how: str, stage: str) -> None:
    data = await asyncio.to_thread(archive)
    async with service.running() as (process, channel):
        stub = ImportServiceStub(channel)
        sent = False
        with contextlib.suppress(JanError):
            async for answer in rpc.exchange(stub.Import, import_parts(data), deadline_seconds=50.0):
                # A stage may go by between two looks at it; the report does not.
                if not sent and (answer.progress.stage == stage or answer.HasField("report")):
                    process.send_signal(getattr(signal, f"SIG{how}"))
                    sent = True
        assert await process.wait() == (0 if how == "TERM" else -signal.SIGKILL)
    async with service.running() as (_, channel):
        assert await asyncio.to_thread(lambda: list((service.janroot / ".server/staging").iterdir())) == []
        for folder in (service.janroot / "threads").iterdir():
            assert sorted(path.name for path in folder.iterdir()) == ["messages.jsonl", "thread.json"]
        stub = ImportServiceStub(channel)
        async for answer in rpc.exchange(stub.Import, import_parts(data), deadline_seconds=50.0):
            report = answer.report
        assert report.counts["threads"] + report.counts["already_here"] == IMPORTED
        assert report.counts["remapped"] == 0


async def test_a_process_whose_lock_was_removed_leaves_by_itself_and_the_next_one_starts(service: Service) -> None:
    async with service.running() as (process, channel):
        thread_id = await create_thread(channel)
        await asyncio.to_thread(shutil.rmtree, service.janroot / ".server")
        _, stderr = await process.communicate()
        assert process.returncode == LOST
        assert f"The lock {service.janroot}/.server/lock was removed" in stderr.decode()
    async with service.running() as (_, channel):
        request = threads_pb2.GetThreadRequest(thread_id=thread_id)
        assert (await rpc.call(ThreadServiceStub(channel).GetThread, request)).thread.id == thread_id
