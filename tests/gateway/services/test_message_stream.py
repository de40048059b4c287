"""Messages appended over one open stream: the outcomes of single calls, whatever happens to the stream."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import gateway.services.storage
from gateway.services import message_stream
from gateway.services.storage import StorageClient
from jan import rpc, rpc_errors
from jan.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    JanError,
    NotFoundError,
    StorageFullError,
)
from jan.storage.limits import LONGEST_APPEND_BYTES
from jan.storage.v1 import messages_pb2, runs_pb2, threads_pb2
from storage_service.store.store import Store
from tests.fixtures.storage import StorageServer, limited_files, serving_storage

CONTENT = '[{"type":"text","text":{"value":"Hi","annotations":[]}}]'


def message(thread_id: str, name: str, **fields: Any) -> messages_pb2.Message:
    values: dict[str, Any] = {"role": messages_pb2.MESSAGE_ROLE_USER, "content_json": CONTENT} | fields
    return messages_pb2.Message(id=name, thread_id=thread_id, **values)


def on_disk(storage: StorageServer, thread_id: str) -> list[str]:
    lines = (storage.janroot / "threads" / thread_id / "messages.jsonl").read_bytes().splitlines()
    return [json.loads(line)["id"] for line in lines]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  what it waits for is another's
        await asyncio.sleep(0.001)


@asynccontextmanager
async def streaming(storage: StorageServer) -> AsyncIterator[StorageClient]:
    """A client whose stream is open: the first message, which has no thread to go to, opened it."""
    client = StorageClient(storage.channel)
    async with client.streaming():
        with pytest.raises(NotFoundError):
            await client.create_message(message("nobody_1", "msg_1"))
        await until(lambda: client.message_stream.is_open)
        yield client


@pytest.fixture
async def client(storage_server: StorageServer) -> AsyncIterator[StorageClient]:
    async with streaming(storage_server) as client:
        yield client


@pytest.fixture
def single_calls(client: StorageClient, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The requests that were made by a call of their own from now on."""
    made: list[Any] = []
    really = rpc.call

    async def call(method: Any, request: Any, **options: Any) -> Any:
        made.append(request)
        return await really(method, request, **options)

    monkeypatch.setattr(gateway.services.storage, "call", call)
    return made


class Slow:
    """Holds each fsync of one thread's messages from the moment that it has a name, until released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.thread_id = ""
        self.begun = 0
        self._release = threading.Event()
        self._really = os.fsync
        monkeypatch.setattr(os, "fsync", self._fsync)

    def release(self) -> None:
        self._release.set()

    def _fsync(self, fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path.name == "messages.jsonl" and path.parent.name == self.thread_id:
            self.begun += 1
            assert self._release.wait(30)
        self._really(fd)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    slow = Slow(monkeypatch)
    yield slow
    slow.release()


async def new_thread(storage: StorageServer) -> str:
    return (await storage.threads.CreateThread(threads_pb2.CreateThreadRequest())).thread.id


@pytest.mark.parametrize("over_stream", [True, False])
class TestContract:
    """What a caller sees, by either way."""

    @pytest.fixture(autouse=True)
    async def way(
        self, storage_server: StorageServer, client: StorageClient, single_calls: list[Any], over_stream: bool
    ) -> AsyncIterator[None]:
        """Fails a test whose messages went the other way."""
        self.client = client if over_stream else StorageClient(storage_server.channel)
        self.asked = 0
        yield
        assert len(single_calls) == (0 if over_stream else self.asked)

    async def outcome(self, sent: messages_pb2.Message) -> messages_pb2.Message | JanError:
        self.asked += 1
        try:
            return await self.client.create_message(sent)
        except JanError as error:
            return error

    async def test_a_message_is_answered_as_stored_and_once(self, storage_server: StorageServer) -> None:
        thread_id = await new_thread(storage_server)
        stored = await self.outcome(message(thread_id, "msg_1"))
        assert isinstance(stored, messages_pb2.Message)
        assert (stored.id, stored.thread_id, stored.content_json) == ("msg_1", thread_id, CONTENT)
        assert stored.completed_at == stored.created_at
        assert stored.revision
        assert await self.outcome(message(thread_id, "msg_1", metadata_json='{"k":"v"}')) == stored
        assert on_disk(storage_server, thread_id) == ["msg_1"]

    async def test_each_refusal_has_its_kind_and_its_words(self, storage_server: StorageServer) -> None:
        thread_id = await new_thread(storage_server)
        file_id = "file-000000000000000000000001"
        unknown_file = f'[{{"file_id":"{file_id}"}}]'
        expected: list[tuple[messages_pb2.Message, type[JanError], str, str]] = [
            (message("jan_9", "msg_1"), NotFoundError, "", ""),
            (message("../x", "msg_1"), InvalidArgumentError, "invalid_id", ""),
            (message(thread_id, "a/b"), InvalidArgumentError, "invalid_id", ""),
            (message(thread_id, "msg_1", role=0), InvalidArgumentError, "", "role"),
            (message(thread_id, "msg_1", content_json="{"), InvalidArgumentError, "", "content"),
            (
                message(thread_id, "msg_1", attachments_json=unknown_file),
                InvalidArgumentError,
                "",
                "attachments[0].file_id",
            ),
        ]
        for sent, kind, code, param in expected:
            error = await self.outcome(sent)
            assert isinstance(error, JanError), sent
            assert (type(error), error.param) == (kind, param or error.param), sent
            assert code in error.code
            assert error.message
        assert not (storage_server.janroot / "threads" / thread_id / "messages.jsonl").exists()

    async def test_a_busy_thread_takes_its_runs_messages_alone(self, storage_server: StorageServer) -> None:
        thread_id = await new_thread(storage_server)
        run = runs_pb2.Run(
            id="run_1", thread_id=thread_id, assistant_id="jan", status=runs_pb2.RUN_STATUS_QUEUED, model="m"
        )
        run.created_at.GetCurrentTime()
        await storage_server.runs.CreateRun(runs_pb2.CreateRunRequest(run=run))
        refused = await self.outcome(message(thread_id, "msg_1"))
        assert isinstance(refused, FailedPreconditionError)
        assert "while a run run_1 is active" in refused.message
        await self.outcome(message(thread_id, "msg_2", run_id="run_1"))
        assert on_disk(storage_server, thread_id) == ["msg_2"]

    async def test_a_full_disk_is_told(self, storage_server: StorageServer) -> None:
        thread_id = await new_thread(storage_server)
        await self.outcome(message(thread_id, "msg_1"))
        with limited_files(300):
            error = await self.outcome(message(thread_id, "msg_2", metadata_json=f'{{"k":"{"x" * 900}"}}'))
        assert isinstance(error, StorageFullError)
        assert on_disk(storage_server, thread_id) == ["msg_1"]

    async def test_our_own_mistakes_leave_without_our_insides(
        self, storage_server: StorageServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        thread_id = await new_thread(storage_server)

        def broken(*_: object) -> None:
            raise KeyError("/secret/path")

        monkeypatch.setattr(Store, "append_each", broken)
        logged: list[Any] = []
        monkeypatch.setattr(rpc_errors.logger, "error", lambda _, **values: logged.append(values["exc_info"]))
        error = await self.outcome(message(thread_id, "msg_1"))
        assert type(error) is InternalError
        assert "secret" not in error.message
        assert [type(reason) for reason in logged] == [KeyError]


async def test_outcomes_are_mixed(
    storage_server: StorageServer, client: StorageClient, single_calls: list[Any]
) -> None:
    thread_id = await new_thread(storage_server)
    sent = [
        message(thread_id, "msg_1"),
        message(thread_id, "msg_2", role=0),
        message("nobody_1", "msg_3"),
        message(thread_id, "msg_4"),
    ]
    outcomes = await asyncio.gather(*map(client.create_message, sent), return_exceptions=True)
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [messages_pb2.Message, InvalidArgumentError, NotFoundError, messages_pb2.Message]
    assert on_disk(storage_server, thread_id) == ["msg_1", "msg_4"]
    assert single_calls == []


async def test_a_slow_thread_holds_up_nobody(
    storage_server: StorageServer, client: StorageClient, single_calls: list[Any], slow: Slow
) -> None:
    slow.thread_id, other = await new_thread(storage_server), await new_thread(storage_server)
    held = [asyncio.create_task(client.create_message(message(slow.thread_id, f"msg_{n}"))) for n in range(20)]
    await until(lambda: slow.begun > 0)
    await asyncio.gather(*(client.create_message(message(other, f"msg_{number}")) for number in range(100)))
    assert not any(task.done() for task in held)
    slow.release()
    await asyncio.gather(*held)
    assert on_disk(storage_server, slow.thread_id) == [f"msg_{number}" for number in range(20)]
    assert len(on_disk(storage_server, other)) == 100
    assert single_calls == []


async def test_who_leaves_takes_back_what_has_not_begun_and_disturbs_nobody(
    storage_server: StorageServer, client: StorageClient, slow: Slow
) -> None:
    slow.thread_id = await new_thread(storage_server)
    begun = asyncio.create_task(client.create_message(message(slow.thread_id, "a")))
    await until(lambda: slow.begun > 0)
    waiting = [asyncio.create_task(client.create_message(message(slow.thread_id, name))) for name in "bcd"]
    await until(lambda: len(client.message_stream) == 4)
    for task in (begun, waiting[1]):
        task.cancel()
    # The one that waited is let go at once; the other one's room as well, though it is written.
    await until(lambda: len(client.message_stream) == 2)
    slow.release()
    await asyncio.gather(waiting[0], waiting[2])
    assert on_disk(storage_server, slow.thread_id) == ["a", "b", "d"]


async def test_one_that_is_not_sent_yet_is_just_left_out(storage_server: StorageServer, client: StorageClient) -> None:
    thread_id = await new_thread(storage_server)
    left, stayed = (asyncio.create_task(client.create_message(message(thread_id, name))) for name in "ab")
    await asyncio.sleep(0)
    left.cancel()
    await stayed
    assert on_disk(storage_server, thread_id) == ["b"]
    assert len(client.message_stream) == 0


async def test_the_deadline_is_that_of_a_call(
    storage_server: StorageServer, client: StorageClient, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow.thread_id = await new_thread(storage_server)
    monkeypatch.setattr(rpc, "DEFAULT_DEADLINE_SECONDS", 0.05)
    with pytest.raises(DeadlineExceededError, match="did not answer in time"):
        await client.create_message(message(slow.thread_id, "msg_1"))
    await until(lambda: len(client.message_stream) == 0)


@pytest.mark.slow
async def test_a_thousand_at_once(
    storage_server: StorageServer, client: StorageClient, single_calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "DEFAULT_DEADLINE_SECONDS", 50.0)
    threads = [await new_thread(storage_server) for _ in range(20)]
    sent = [message(threads[number % 20], f"msg_{number}") for number in range(1000)]
    answers = await asyncio.gather(*map(client.create_message, sent))
    assert [answer.id for answer in answers] == [one.id for one in sent]
    for number, thread_id in enumerate(threads):
        assert on_disk(storage_server, thread_id) == [f"msg_{count}" for count in range(number, 1000, 20)]
    assert single_calls == []
    assert len(client.message_stream) == 0


async def test_what_the_stream_has_no_room_for_goes_by_itself(
    storage_server: StorageServer,
    client: StorageClient,
    single_calls: list[Any],
    slow: Slow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(message_stream, "MOST_APPENDS", 8)
    slow.thread_id = await new_thread(storage_server)
    calls = [asyncio.create_task(client.create_message(message(slow.thread_id, f"msg_{n}"))) for n in range(20)]
    await until(lambda: slow.begun > 0 and len(single_calls) == 12)
    assert len(client.message_stream) == 8
    slow.release()
    await asyncio.gather(*calls)
    assert sorted(on_disk(storage_server, slow.thread_id)) == sorted(f"msg_{number}" for number in range(20))

    monkeypatch.setattr(message_stream, "MOST_APPEND_BYTES", 50)
    await client.create_message(message(slow.thread_id, "heavy"))
    assert single_calls[12:] == [messages_pb2.CreateMessageRequest(message=message(slow.thread_id, "heavy"))]


async def test_a_long_message_goes_by_itself(
    storage_server: StorageServer, client: StorageClient, single_calls: list[Any]
) -> None:
    thread_id = await new_thread(storage_server)
    long = message(thread_id, "msg_1", metadata_json=f'{{"k":"{"x" * LONGEST_APPEND_BYTES}"}}')
    assert (await client.create_message(long)).id == "msg_1"
    assert len(single_calls) == 1


async def test_a_service_that_stops_answers_what_it_took_and_ends_the_stream(
    tmp_path: Path, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    broke: list[str] = []
    monkeypatch.setattr(message_stream.logger, "info", lambda event, **_: broke.append(event))
    store = await asyncio.to_thread(Store.open, tmp_path / "janroot")
    async with serving_storage(store, tmp_path / "janroot") as storage:
        slow.thread_id = await new_thread(storage)
        async with streaming(storage) as client:
            held = asyncio.create_task(client.create_message(message(slow.thread_id, "msg_1")))
            await until(lambda: slow.begun > 0)
            storage.stop.set()
            await asyncio.sleep(0)
            slow.release()
            assert (await held).id == "msg_1"
            await until(lambda: not client.message_stream.is_open)
    assert broke == []
    await asyncio.to_thread(store.close)
