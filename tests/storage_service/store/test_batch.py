"""Several requests appended in one write: one fsync, and the outcome that each would have had alone."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from jan.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    JanError,
    NotFoundError,
    StorageFullError,
    TooLargeError,
)
from jan.ids import AssistantId, MessageId, RunId, ThreadId
from storage_service.store import atomic, jsonl
from storage_service.store.atomic import DiskFailedError
from storage_service.store.jsonl import Segment
from storage_service.store.paging import PageQuery
from storage_service.store.records import Message, Role, Run, RunStatus, Thread
from storage_service.store.store import Store
from tests.fixtures.storage import limited_files
from tests.storage_service.conftest import SteppingClock
from tests.storage_service.store.crashes import Crash, crash_points

ALL = PageQuery(limit=100, descending=False)


def message(name: str, text: str = "Hi", run_id: str = "", created_ms: int = 0) -> Message:
    content = [{"type": "text", "text": {"value": text, "annotations": []}}]
    return Message(MessageId(name), ThreadId(""), Role.USER, content, created_ms=created_ms, run_id=run_id)


def outcomes(store: Store, thread: Thread, *requests: Sequence[Message]) -> list[object]:
    """The ids that each request got, or the kind of its error."""
    return [
        type(outcome) if isinstance(outcome, JanError) else [item.id for item in outcome]
        for outcome in store.append_each(thread.id, requests)
    ]


def listed(store: Store, thread: Thread) -> list[str]:
    return [item.id for item in store.messages.page(thread.id, ALL).items]


@pytest.fixture
def file(janroot: Path, thread: Thread) -> Path:
    return janroot / "threads" / thread.id / "messages.jsonl"


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was synced."""
    names: list[str] = []
    really = os.fsync

    def fsync(fd: int) -> None:
        names.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        really(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    return names


def test_many_requests_are_one_fsync(store: Store, thread: Thread, synced: list[str]) -> None:
    names = [f"m{number}" for number in range(50)]
    assert outcomes(store, thread, *([message(name)] for name in names)) == [[name] for name in names]
    assert synced == ["messages.jsonl", thread.id]
    assert listed(store, thread) == names


def test_what_is_answered_is_what_is_stored(store: Store, thread: Thread) -> None:
    appended = store.append_each(thread.id, [[message("a"), message("b")], [message("c")]])
    stored = [item for outcome in appended if not isinstance(outcome, JanError) for item in outcome]
    assert stored == list(store.messages.page(thread.id, ALL).items)


def test_an_id_is_added_once_whoever_sends_it(store: Store, thread: Thread, file: Path) -> None:
    store.append(thread.id, [message("old", "old")])
    first, second, third = store.append_each(
        thread.id, [[message("a", "first")], [message("old", "new"), message("a", "second")], [message("b")]]
    )
    assert not isinstance(first, JanError)
    assert not isinstance(second, JanError)
    assert second == [store.messages.get(thread.id, MessageId("old")), *first]
    assert second[0].content[0]["text"]["value"] == "old"
    assert third == [store.messages.get(thread.id, MessageId("b"))]
    assert [json.loads(line)["id"] for line in file.read_text().splitlines()] == ["old", "a", "b"]


def test_each_fails_alone(store: Store, thread: Thread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 1000)
    no_file = Message(
        MessageId("none"), ThreadId(""), Role.USER, [], attachments=[{"file_id": "file-000000000000000000000001"}]
    )
    large = [message("half"), message("large", "x" * 1000)]
    assert outcomes(store, thread, [message("a")], [no_file], large, [message("b")]) == [
        ["a"],
        InvalidArgumentError,
        TooLargeError,
        ["b"],
    ]
    assert listed(store, thread) == ["a", "b"]


def test_while_a_run_is_active_only_its_own_are_added(store: Store, thread: Thread) -> None:
    run = Run(RunId("run_1"), thread.id, AssistantId("jan"), RunStatus.QUEUED, created_ms=1)
    store.append(thread.id, [message("old")])
    store.create_run(run, [message("question")])
    requests = [[message("a")], [message("answer", run_id="run_1")], [message("old")]]
    assert outcomes(store, thread, *requests) == [FailedPreconditionError, ["answer"], ["old"]]
    assert listed(store, thread) == ["old", "question", "answer"]


def test_an_answer_of_a_run_that_the_thread_does_not_have_is_refused(store: Store, thread: Thread) -> None:
    """A restore replaced the thread under its run; what lies there already may name any run."""
    run = Run(RunId("run_1"), thread.id, AssistantId("jan"), RunStatus.COMPLETED, created_ms=1)
    file = store.threads.folder(thread.id) / "messages.jsonl"
    file.write_text('{"id":"imported","role":"assistant","content":"Hi","run_id":"run_old"}\n')
    requests = [[message("imported", run_id="run_old")], [message("late", run_id="run_1")], [message("a")]]
    assert outcomes(store, thread, *requests) == [["imported"], FailedPreconditionError, ["a"]]
    store.runs.create(run)
    [stranger, late] = store.append_each(thread.id, [[message("x", run_id="run_2")], [message("late", run_id="run_1")]])
    assert isinstance(stranger, FailedPreconditionError)
    assert (stranger.code, stranger.param) == ("unknown_run", "run_id")
    assert not isinstance(late, JanError)
    assert listed(store, thread) == ["imported", "a", "late"]


def test_an_unknown_thread_is_everybodys_error(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.append_each(ThreadId("jan_1"), [[message("a")], [message("b")]])


def test_times_never_decrease(store: Store, thread: Thread, clock: SteppingClock) -> None:
    store.append(thread.id, [message("a")])
    clock.now_ms += 100_000
    later, earlier = clock.now_ms - 1_000, clock.now_ms - 5_000
    requests = [[message("b", created_ms=later)], [message("c", created_ms=earlier)], [message("d")]]
    assert outcomes(store, thread, *requests) == [["b"], ["c"], ["d"]]
    items = store.messages.page(thread.id, ALL).items
    assert [item.id for item in items] == ["a", "b", "c", "d"]
    assert [item.created_ms for item in items[1:3]] == [later, later]


def test_without_room_for_all_those_are_added_that_fit(store: Store, thread: Thread, file: Path) -> None:
    store.append(thread.id, [message("a")])
    requests = [[message("b")], [message("large", "x" * 2000)], [message("c")]]
    with limited_files(file.stat().st_size + 1000):
        assert outcomes(store, thread, *requests) == [["b"], StorageFullError, ["c"]]
    assert listed(store, thread) == ["a", "b", "c"]
    assert [json.loads(line)["id"] for line in file.read_text().splitlines()] == ["a", "b", "c"]


def test_without_any_room_all_fail_and_the_file_is_as_it_was(store: Store, thread: Thread, file: Path) -> None:
    store.append(thread.id, [message("a")])
    before = file.read_bytes()
    with limited_files(len(before) + 10):
        assert outcomes(store, thread, [message("b")], [message("c")]) == [StorageFullError] * 2
    assert file.read_bytes() == before


def test_a_log_that_was_refused_room_is_not_read_again(
    store: Store, thread: Thread, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(thread.id, [message("a")])
    read: list[int] = []
    really = jsonl.segments

    def counted(fd: int) -> Iterator[Segment]:
        read.append(fd)
        return really(fd)

    monkeypatch.setattr(jsonl, "segments", counted)
    for _ in range(2):
        with limited_files(file.stat().st_size + 10):
            assert outcomes(store, thread, [message("b")]) == [StorageFullError]
    store.append(thread.id, [message("c")])
    assert listed(store, thread) == ["a", "c"]
    assert read == []


def test_what_somebody_wrote_while_room_was_refused_is_read(
    store: Store, thread: Thread, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(thread.id, [message("a")])
    really = atomic.append

    def refused(path: Path, data: bytes, quarantine: Path) -> int:
        try:
            return really(path, data, quarantine)
        finally:
            path.write_bytes(path.read_bytes().replace(b'"a"', b'"other"'))

    monkeypatch.setattr(atomic, "append", refused)
    with limited_files(file.stat().st_size + 10):
        assert outcomes(store, thread, [message("b")]) == [StorageFullError]
    assert listed(store, thread) == ["other"]


def test_a_failed_fsync_is_told_and_not_repeated(store: Store, thread: Thread, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fsync(fd: int) -> None:
        calls.append(fd)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DiskFailedError):
        store.append_each(thread.id, [[message("a")], [message("b")]])
    assert len(calls) == 1


def test_sending_again_after_a_crash_gives_each_message_once(
    store: Store, janroot: Path, thread: Thread, file: Path, clock: SteppingClock
) -> None:
    requests = [[message("a")], [message("b"), message("c")], [message("d")]]
    store.close()
    for crash in crash_points():
        file.unlink(missing_ok=True)
        store = Store.open(janroot, clock=clock)
        store.append(thread.id, [message("acknowledged")])
        with contextlib.suppress(Crash), crash:
            store.append_each(thread.id, requests)
        store.close()
        store = Store.open(janroot, clock=clock)
        assert outcomes(store, thread, *requests) == [["a"], ["b", "c"], ["d"]]
        assert listed(store, thread) == ["acknowledged", "a", "b", "c", "d"]
        assert len(file.read_text().splitlines()) == 5
        store.close()


def test_one_that_is_nested_too_deep_to_be_written_does_not_break_the_others(store: Store, thread: Thread) -> None:
    deep: dict[str, object] = {}
    for _ in range(300):
        deep = {"a": deep}
    bad = replace(message("msg_bad"), content=[deep])
    assert outcomes(store, thread, [message("msg_a")], [bad], [message("msg_b")]) == [
        ["msg_a"],
        InvalidArgumentError,
        ["msg_b"],
    ]
    assert listed(store, thread) == ["msg_a", "msg_b"]
