"""Messages over a stream that breaks or is not there: what was acknowledged stays, the rest is asked again."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.services.message_stream import MessageStream
from gateway.services.storage import StorageClient
from jan import rpc
from jan.errors import (
    DeadlineExceededError,
    UnavailableError,
)
from jan.storage.v1 import messages_pb2, threads_pb2
from tests.fixtures.storage import StorageServer
from tests.gateway.services.test_message_stream import message, new_thread, on_disk, until


async def test_the_stream_is_opened_behind_the_first_message(storage_server: StorageServer) -> None:
    stream = MessageStream(storage_server.messages)
    async with stream.running():
        assert not stream.is_open
        assert await stream.append(message("jan_1", "msg_1")) is None
        await until(lambda: stream.is_open)
    assert not stream.is_open
    assert await stream.append(message("jan_1", "msg_1")) is None


async def test_a_service_without_streams_is_asked_call_by_call(
    storage_server: StorageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older storage service does not know the method; messages are appended all the same."""
    client = StorageClient(storage_server.channel)
    asked = asyncio.Event()
    missing: Any = storage_server.channel.stream_stream("/jan.storage.v1.MessageService/Nothing")

    def unknown() -> Any:
        asked.set()
        return missing()

    monkeypatch.setattr(client._messages, "AppendMessages", unknown)
    thread_id = await new_thread(storage_server)
    async with client.streaming():
        await client.create_message(message(thread_id, "msg_1"))
        await asked.wait()
        await client.create_message(message(thread_id, "msg_2"))
        assert not client.message_stream.is_open
    assert on_disk(storage_server, thread_id) == ["msg_1", "msg_2"]


@pytest.mark.slow
async def test_when_storage_is_killed_what_was_acknowledged_is_there_and_the_rest_is_asked_again(
    tmp_path: Path,
) -> None:
    """Forty clients, who ask again when they are told that storage is away, as the rules of a call say."""
    acknowledged: list[str] = []
    with tempfile.TemporaryDirectory(prefix="jan-stream-") as folder:
        address = f"unix:{folder}/s.sock"
        async with rpc.open_channel(address) as channel, AsyncExitStack() as stack:
            client = StorageClient(channel)
            process = await launch(tmp_path, address)
            stack.push_async_callback(process.wait)
            threads = [(await client.create_thread(threads_pb2.CreateThreadRequest())).id for _ in range(4)]
            await stack.enter_async_context(client.streaming())

            async def talk(number: int) -> None:
                for count in range(20):
                    sent = message(threads[number % 4], f"msg_{number}_{count}")
                    await again_while_away(client, sent)
                    acknowledged.append(sent.id)

            talking = asyncio.gather(*map(talk, range(40)))
            await until(lambda: len(acknowledged) > 200 and len(client.message_stream) > 0)
            process.kill()
            await process.wait()
            said, kept = set(acknowledged), {name for thread_id in threads for name in kept_in(tmp_path, thread_id)}
            assert said <= kept
            process = await launch(tmp_path, address)
            await talking
            process.terminate()
            assert await process.wait() == 0
    everything = sorted(name for thread_id in threads for name in kept_in(tmp_path, thread_id))
    assert everything == sorted(f"msg_{number}_{count}" for number in range(40) for count in range(20))


async def launch(folder: Path, address: str) -> asyncio.subprocess.Process:
    environment = {"JANROOT_PATH": str(folder / "janroot"), "JANROOT_RUN_DIR": str(folder / "run")}
    environment |= {"JANROOT_STORAGE_ADDR": address, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "storage_service", env=os.environ | environment, stderr=asyncio.subprocess.DEVNULL
    )
    async with rpc.open_channel(address) as channel:
        while not await rpc.is_serving(channel):
            assert process.returncode is None
    return process


async def again_while_away(client: StorageClient, sent: messages_pb2.Message) -> None:
    while True:
        with suppress(UnavailableError, DeadlineExceededError):
            await client.create_message(sent)
            return


def kept_in(folder: Path, thread_id: str) -> list[str]:
    """The messages in a thread's file; a line that the kill tore is none."""
    lines = (folder / "janroot" / "threads" / thread_id / "messages.jsonl").read_bytes().split(b"\n")[:-1]
    return [json.loads(line)["id"] for line in lines]
