"""Deleting, clearing and undoing: a thread is whole in the one place or in the other, whenever the process dies."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from jan.errors import FailedPreconditionError, NotFoundError
from jan.ids import AssistantId, MessageId, RunId, ThreadId, TrashId
from storage_service.store import trash
from storage_service.store.paging import PageQuery
from storage_service.store.records import Message, Role, Run, RunStatus, Thread, TrashEntry
from storage_service.store.store import Store
from tests.storage_service.conftest import BLANK, HandStopwatch, SteppingClock
from tests.storage_service.store.crashes import Crash, crash_points

ALL = PageQuery(limit=100, descending=False)
JAN = AssistantId("jan")
YEAR_MS = 365 * trash.DAY_MS


def entries(store: Store) -> list[TrashEntry]:
    return list(store.trash.page(ALL).items)


def listed(store: Store) -> list[str]:
    return [thread.id for thread in store.threads.page(ALL).items]


def fill(store: Store, janroot: Path, thread_id: ThreadId) -> None:
    """Two messages, the second with a document of its own."""
    texts = [
        {"type": "text", "text": {"value": "Hi", "annotations": []}},
        {"type": "pdf", "text": {"value": "Read", "annotations": [f"threads/{thread_id}/files/m2.pdf"]}},
    ]
    new = [Message(MessageId(f"m{n}"), thread_id, Role.USER, [text]) for n, text in enumerate(texts, 1)]
    store.append(thread_id, new)
    folder = janroot / "threads" / thread_id / "files"
    folder.mkdir()
    (folder / "m2.pdf").write_bytes(b"%PDF")


def start_run(store: Store, thread_id: ThreadId) -> Run:
    run = Run(RunId.new(), thread_id, JAN, RunStatus.IN_PROGRESS, created_ms=1_704_504_640_000)
    return store.create_run(run, [])


def ids(store: Store, thread_id: ThreadId) -> list[str]:
    return [message.id for message in store.messages.page(thread_id, ALL).items]


def test_a_deletion_is_undone_whole(store: Store, janroot: Path) -> None:
    thread = store.threads.create(JAN, replace(BLANK, title="Trip"))
    fill(store, janroot, thread.id)
    store.delete_thread(thread.id)
    [entry] = entries(store)
    assert (entry.kind, entry.count, entry.items[0].id, entry.items[0].title) == ("thread", 1, thread.id, "Trip")
    assert entry.expires_ms - entry.deleted_ms == 30 * trash.DAY_MS
    assert store.restore(entry.id) == entry
    assert entries(store) == []
    assert listed(store) == [thread.id]
    assert ids(store, thread.id) == ["m1", "m2"]
    assert (janroot / "threads" / thread.id / "files" / "m2.pdf").read_bytes() == b"%PDF"
    with pytest.raises(NotFoundError):
        store.restore(entry.id)


def test_the_trash_outlives_a_restart_and_keeps_names(store: Store, janroot: Path, clock: SteppingClock) -> None:
    clock.now_ms = 1_704_504_633_000
    thread = store.threads.create(JAN, BLANK)
    store.delete_thread(thread.id)
    store.close()
    clock.now_ms = thread.created_ms - 1000
    reopened = Store.open(janroot, clock=clock)
    assert reopened.threads.create(JAN, BLANK).id == f"{thread.id}-2"
    [entry] = entries(reopened)
    reopened.restore(entry.id)
    assert set(listed(reopened)) == {thread.id, f"{thread.id}-2"}
    reopened.close()


def test_a_run_that_was_deleted_comes_back_ended(store: Store, thread: Thread) -> None:
    run = start_run(store, thread.id)
    run = store.runs.update(replace(run, round=2))
    assert [(ended.id, ended.round) for ended in store.delete_thread(thread.id)] == [(run.id, 2)]
    assert store.runs.all_active() == []
    [entry] = entries(store)
    store.restore(entry.id)
    assert store.runs.get(thread.id, run.id).status is RunStatus.CANCELLED
    assert store.runs.all_active() == []


def test_a_taken_name_keeps_the_deletion_whole(store: Store, janroot: Path) -> None:
    made = [store.threads.create(JAN, BLANK).id for _ in range(3)]
    deletion = store.trash.begin(trash.THREADS)
    for thread_id in made:
        store.delete_thread(thread_id, deletion)
    deletion.finish()
    (janroot / "threads" / made[1]).mkdir()
    [entry] = entries(store)
    assert entry.count == 3
    with pytest.raises(FailedPreconditionError):
        store.restore(entry.id)
    (janroot / "threads" / made[1]).rmdir()
    store.restore(entry.id)
    assert listed(store) == made


def test_a_deleted_assistant_comes_back(store: Store) -> None:
    store.assistants.delete(JAN)
    [entry] = entries(store)
    assert (entry.kind, entry.items[0].title) == ("assistant", "Jan")
    store.restore(entry.id)
    assert store.assistants.get(JAN).name == "Jan"


def test_what_was_deleted_is_kept_for_thirty_days(
    store: Store, janroot: Path, clock: SteppingClock, stopwatch: HandStopwatch, thread: Thread
) -> None:
    stray = janroot / ".server" / "trash" / "by-hand"
    stray.mkdir()
    store.delete_thread(thread.id)
    [entry] = entries(store)
    clock.now_ms = entry.expires_ms - 2000
    store.tidy()
    assert entries(store) == [entry]
    clock.now_ms = entry.expires_ms
    store.tidy()
    stopwatch.seconds += 3600
    store.tidy()
    assert entries(store) == []
    assert [path.name for path in (janroot / ".server" / "trash").iterdir()] == ["by-hand"]
    with pytest.raises(NotFoundError):
        store.restore(entry.id)


def test_a_clock_that_jumps_ahead_for_a_while_empties_nothing(
    store: Store, clock: SteppingClock, stopwatch: HandStopwatch, thread: Thread
) -> None:
    store.delete_thread(thread.id)
    [entry] = entries(store)
    for _ in range(3):
        clock.now_ms += YEAR_MS
        store.tidy()
        stopwatch.seconds += 1800
        store.tidy()
        clock.now_ms -= YEAR_MS
        stopwatch.seconds += 1800
        store.tidy()
    assert entries(store) == [entry]


def test_a_full_disk_at_the_very_end_of_a_restoration_undoes_nothing(
    store: Store, janroot: Path, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.delete_thread(thread.id)
    [entry] = entries(store)
    rename = os.rename

    def no_room_aside(source: Path, target: Path) -> None:
        if target.parent == janroot / ".server" / "staging":
            raise OSError(errno.ENOSPC, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", no_room_aside)
    assert store.restore(entry.id).id == entry.id
    assert (listed(store), entries(store)) == ([thread.id], [])


def test_what_is_removed_for_good_is_gone_and_the_rest_stays(store: Store, janroot: Path) -> None:
    stray = janroot / ".server" / "trash" / "by-hand"
    stray.mkdir()
    made = [store.threads.create(JAN, BLANK).id for _ in range(3)]
    for thread_id in made[:2]:
        store.delete_thread(thread_id)
    first, second = entries(store)
    store.delete_trash(first.id)
    assert (entries(store), listed(store)) == ([second], made[2:])
    for work in (store.restore, store.delete_trash):
        with pytest.raises(NotFoundError):
            work(first.id)
    assert (store.empty_trash(), store.empty_trash()) == (1, 0)
    assert (entries(store), list((janroot / ".server/staging").iterdir())) == ([], [])
    assert list(stray.parent.iterdir()) == [stray]


@pytest.mark.parametrize("hostile", ["thread-1-00000000", "by-hand", "thread-9-aaaaaaaa"])
def test_only_deletions_can_be_undone(store: Store, janroot: Path, hostile: str) -> None:
    (janroot / ".server" / "trash" / "by-hand" / "x").mkdir(parents=True)
    (janroot / ".server" / "trash" / "thread-9-aaaaaaaa").mkdir()
    with pytest.raises(NotFoundError):
        store.restore(TrashId(hostile))


def test_a_cleared_thread_keeps_its_settings(store: Store, janroot: Path) -> None:
    thread = store.threads.create(JAN, replace(BLANK, title="Trip", metadata={"lastMessage": "Hi", "k": "v"}))
    fill(store, janroot, thread.id)
    run = start_run(store, thread.id)
    with pytest.raises(FailedPreconditionError):
        store.clear_thread(thread.id)
    store.runs.update(replace(run, status=RunStatus.COMPLETED))
    cleared = store.clear_thread(thread.id)
    assert (cleared.title, cleared.metadata) == ("Trip", {"k": "v"})
    assert ids(store, thread.id) == []
    assert store.runs.page(thread.id, ALL).items == ()
    assert [path.name for path in (janroot / "threads" / thread.id).iterdir()] == ["thread.json"]
    [entry] = entries(store)
    store.restore(entry.id)
    assert ids(store, thread.id) == ["m1", "m2"]
    store.clear_thread(thread.id)
    fill(store, janroot, thread.id)
    [entry] = entries(store)
    with pytest.raises(FailedPreconditionError):
        store.restore(entry.id)
    assert ids(store, thread.id) == ["m1", "m2"]


def test_a_thread_without_a_file_can_be_cleared(store: Store, janroot: Path) -> None:
    folder = janroot / "threads" / "ghost_1704504633"
    folder.mkdir()
    (folder / "messages.jsonl").write_text('{"id":"m","role":"user","content":"Hi"}\n')
    store.clear_thread(ThreadId("ghost_1704504633"))
    assert listed(store) == ["ghost_1704504633"]


def test_a_copy_is_a_thread_of_its_own(store: Store, janroot: Path) -> None:
    thread = store.threads.create(JAN, replace(BLANK, title="Trip", metadata={"k": "v"}))
    fill(store, janroot, thread.id)
    start_run(store, thread.id)
    file = janroot / "threads" / thread.id / "messages.jsonl"
    raw = json.loads(file.read_text().splitlines()[0]) | {"id": "m3", "run_id": "run_1", "odd": 1}
    file.write_text(file.read_text() + json.dumps(raw) + "\n{ broken\n")
    told = janroot / "threads" / thread.id / "thread.json"
    told.write_text(json.dumps(json.loads(told.read_text()) | {"isFinishInit": True}))
    (janroot / "threads" / thread.id / "files" / "link").symlink_to("/etc/passwd")

    copy = store.clone_thread(thread.id)
    assert copy.id != thread.id
    assert (copy.title, copy.metadata, copy.assistants) == ("Trip", {"k": "v"}, thread.assistants)
    assert listed(store) == [thread.id, copy.id]
    assert ids(store, copy.id) == ["m1", "m2", "m3"]
    folder = janroot / "threads" / copy.id
    assert sorted(path.name for path in folder.iterdir()) == ["files", "messages.jsonl", "thread.json"]
    assert [path.name for path in (folder / "files").iterdir()] == ["m2.pdf"]
    *lines, broken = (folder / "messages.jsonl").read_text().splitlines()
    assert broken == "{ broken"
    messages = [json.loads(line) for line in lines]
    assert {message["thread_id"] for message in messages} == {copy.id}
    assert messages[1]["content"][0]["text"]["annotations"] == [f"threads/{copy.id}/files/m2.pdf"]
    assert (messages[2]["odd"], "run_id" in messages[2]) == (1, False)
    settings = json.loads((folder / "thread.json").read_text())
    assert (settings["id"], settings["isFinishInit"], settings["created"]) == (copy.id, True, copy.created_ms)

    store.append(copy.id, [Message(MessageId("m4"), copy.id, Role.USER, [])])
    store.delete_thread(copy.id)
    assert ids(store, thread.id) == ["m1", "m2", "m3"]
    assert store.clone_thread(thread.id, "Another").title == "Another"


def whole_threads(janroot: Path) -> dict[str, list[str]]:
    """Every thread anywhere, with the names of what is in it."""
    places = [janroot / "threads", *(janroot / ".server" / "trash").iterdir()]
    return {
        folder.name: sorted(path.name for path in folder.iterdir())
        for place in places
        for folder in place.iterdir()
        if any(folder.iterdir())
    }


WHOLE = ["files", "messages.jsonl", "thread.json"]


@pytest.mark.parametrize("work", ["delete", "restore", "clone"])
def test_a_crash_at_any_step_leaves_every_thread_whole(
    store: Store, janroot: Path, clock: SteppingClock, work: str
) -> None:
    thread = store.threads.create(JAN, replace(BLANK, title="Trip"))
    fill(store, janroot, thread.id)
    store.close()
    for crash in crash_points():
        store = Store.open(janroot, clock=clock)
        for entry in entries(store) if work != "restore" else ():
            store.restore(entry.id)
        if work == "restore" and thread.id in listed(store):
            store.delete_thread(thread.id)
        deletions = entries(store)
        try:
            with crash:
                match work:
                    case "delete":
                        store.delete_thread(thread.id)
                    case "clone":
                        store.clone_thread(thread.id)
                    case "restore":
                        store.restore(deletions[0].id)
        except Crash:
            pass
        store.close()
        found = whole_threads(janroot)
        assert found.pop(thread.id) == WHOLE
        assert all(names == WHOLE for names in found.values())
        reopened = Store.open(janroot, clock=clock)
        deleted = [item.id for item in entries(reopened)]
        assert (thread.id in listed(reopened)) == (not deleted)
        assert list((janroot / ".server" / "staging").iterdir()) == []
        reopened.close()
    if work == "clone":
        assert found


def test_a_clearing_that_was_broken_off_is_done_by_repeating_it(
    store: Store, janroot: Path, clock: SteppingClock
) -> None:
    thread = store.threads.create(JAN, replace(BLANK, title="Trip"))
    store.close()
    for crash in crash_points():
        store = Store.open(janroot, clock=clock)
        fill(store, janroot, thread.id)
        try:
            with crash:
                store.clear_thread(thread.id)
        except Crash:
            pass
        store.close()
        reopened = Store.open(janroot, clock=clock)
        assert reopened.threads.get(thread.id).title == "Trip"
        assert ids(reopened, thread.id) in ([], ["m1", "m2"])
        reopened.clear_thread(thread.id)
        assert [path.name for path in (janroot / "threads" / thread.id).iterdir()] == ["thread.json"]
        reopened.close()


@pytest.mark.slow
def test_two_thousand_threads_go_and_come_back_with_a_few_flushes(
    store: Store, janroot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2_000):
        folder = janroot / "threads" / f"jan_{1_704_500_000 + number}"
        folder.mkdir()
        (folder / "thread.json").write_text("{}")
    flush = Mock(wraps=os.fsync)
    monkeypatch.setattr(os, "fsync", flush)
    deletion = store.trash.begin(trash.THREADS)
    for thread_id in store.threads.order.ids():
        store.delete_thread(thread_id, deletion)
    deletion.finish()
    [entry] = entries(store)
    assert (entry.count, len(entry.items), listed(store)) == (2_000, 100, [])
    store.restore(entry.id)
    assert len(store.threads.order.ids()) == 2_000
    assert flush.call_count < 20
