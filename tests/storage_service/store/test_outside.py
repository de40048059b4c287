"""Other programs write the same files, even while we write: theirs is not undone, ours is not lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from jan.errors import ConflictError, PreconditionFailedError
from jan.ids import AssistantId, MessageId, ThreadId
from storage_service.store import atomic
from storage_service.store.paging import PageQuery
from storage_service.store.records import Assistant, Message, Role, Thread
from storage_service.store.store import Store

ALL = PageQuery(limit=100, descending=False)
OTHERS = '{"id": "theirs", "role": "user", "content": "hello"}\n'


def message(name: str) -> Message:
    return Message(MessageId(name), ThreadId(""), Role.USER, [])


class Interloper:
    """Somebody who writes just before our temporary takes the place of the file, a number of times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.acts: list[Callable[[], object]] = []
        really = atomic.write_new

        def write_new(path: Path, chunks: Iterable[bytes]) -> None:
            really(path, chunks)
            if self.acts:
                self.acts.pop()()

        monkeypatch.setattr(atomic, "write_new", write_new)


@pytest.fixture
def interloper(monkeypatch: pytest.MonkeyPatch) -> Interloper:
    return Interloper(monkeypatch)


@pytest.fixture
def folder(janroot: Path, thread: Thread) -> Path:
    return janroot / "threads" / thread.id


def rename_replace(path: Path, text: str) -> None:
    other = path.with_name("theirs.tmp")
    other.write_text(text)
    other.replace(path)


def test_a_change_of_thread_json_under_our_hands_is_kept(
    store: Store, thread: Thread, folder: Path, interloper: Interloper
) -> None:
    path = folder / "thread.json"
    theirs = json.loads(path.read_text()) | {"theirs": 1, "metadata": {"by": "hand"}}
    interloper.acts = [lambda: rename_replace(path, json.dumps(theirs))]
    changed = store.threads.change(thread.id, lambda old: replace(old, title="Ours"))
    assert changed.metadata == {"by": "hand"}
    after = json.loads(path.read_text())
    assert (after["theirs"], after["title"]) == (1, "Ours")
    assert not list(folder.glob(".*.tmp"))


def test_a_line_that_desktop_jan_appends_while_we_rewrite_is_kept(
    store: Store, thread: Thread, folder: Path, interloper: Interloper
) -> None:
    store.messages.append(thread.id, [message("a"), message("b")])
    path = folder / "messages.jsonl"

    def append() -> None:
        with path.open("a") as out:
            out.write(OTHERS)

    interloper.acts = [append]
    store.messages.delete(thread.id, MessageId("a"))
    assert [item.id for item in store.messages.page(thread.id, ALL).items] == ["b", "theirs"]


def test_an_append_to_a_file_that_is_replaced_meanwhile_is_in_the_new_one(
    store: Store, thread: Thread, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.messages.append(thread.id, [message("a")])
    path = folder / "messages.jsonl"
    really = atomic._sync
    pending = [lambda: rename_replace(path, OTHERS)]

    def sync(fd: int, name: Path) -> None:
        really(fd, name)
        if name == path and pending:
            pending.pop()()

    monkeypatch.setattr(atomic, "_sync", sync)
    store.messages.append(thread.id, [message("b")])
    assert [item.id for item in store.messages.page(thread.id, ALL).items] == ["theirs", "b"]


def test_somebody_who_never_stops_writing_is_told_of(
    store: Store, thread: Thread, folder: Path, interloper: Interloper
) -> None:
    path = folder / "thread.json"
    interloper.acts = [partial(rename_replace, path, f'{{"n": {number}}}') for number in range(9)]
    with pytest.raises(ConflictError):
        store.threads.change(thread.id, lambda old: replace(old, title="Ours"))
    assert "Ours" not in path.read_text()


class TestRevisions:
    """What was read is named by its revision; a change or deletion of any other state is refused."""

    def test_of_a_thread(self, store: Store, thread: Thread, folder: Path) -> None:
        assert store.threads.get(thread.id).revision == thread.revision
        changed = store.threads.change(thread.id, lambda old: replace(old, title="New"), [thread.revision])
        assert changed.revision == store.threads.get(thread.id).revision != thread.revision
        with pytest.raises(PreconditionFailedError):
            store.threads.change(thread.id, lambda old: replace(old, title="Newer"), [thread.revision])
        rename_replace(folder / "thread.json", '{"title": "By hand"}')
        with pytest.raises(PreconditionFailedError):
            store.delete_thread(thread.id, if_revision=[changed.revision])
        assert store.threads.get(thread.id).title == "By hand"
        store.delete_thread(thread.id, if_revision=["other", store.threads.get(thread.id).revision])

    def test_messages_are_no_part_of_their_threads(self, store: Store, thread: Thread) -> None:
        store.messages.append(thread.id, [message("a")])
        assert store.threads.get(thread.id).revision == thread.revision

    def test_of_a_message(self, store: Store, thread: Thread) -> None:
        [stored] = store.messages.append(thread.id, [message("a")])
        changed = store.messages.change(
            thread.id, stored.id, lambda old: replace(old, metadata={"k": "v"}), [stored.revision]
        )
        assert changed.revision == store.messages.get(thread.id, stored.id).revision != stored.revision
        with pytest.raises(PreconditionFailedError):
            store.messages.change(thread.id, stored.id, lambda old: old, [stored.revision])
        with pytest.raises(PreconditionFailedError):
            store.messages.delete(thread.id, stored.id, [stored.revision])
        store.messages.delete(thread.id, stored.id, [changed.revision])

    def test_of_an_assistant(self, store: Store) -> None:
        made = store.assistants.create(Assistant(AssistantId("asst_a"), name="A"))
        changed = store.assistants.change(made.id, lambda old: replace(old, name="B"), [made.revision])
        assert changed.revision == store.assistants.get(made.id).revision != made.revision
        with pytest.raises(PreconditionFailedError):
            store.assistants.change(made.id, lambda old: old, [made.revision])
        with pytest.raises(PreconditionFailedError):
            store.assistants.delete(made.id, [made.revision])
        store.assistants.delete(made.id, [changed.revision])


def test_a_flat_thread_of_2023_has_a_revision_until_it_gets_its_folder(store: Store, janroot: Path) -> None:
    """The change that makes the folder is checked against the flat file that was read."""
    thread_id = ThreadId("homework_1699104467")
    flat = janroot / "threads" / f"{thread_id}.json"
    flat.write_text(json.dumps({"id": thread_id, "title": "Draft", "messages": [], "created": 1699104467}))
    read = store.threads.get(thread_id)
    with pytest.raises(PreconditionFailedError):
        store.threads.change(thread_id, lambda old: replace(old, title="Ours"), ["other"])
    assert flat.exists()
    changed = store.threads.change(thread_id, lambda old: replace(old, title="Ours"), [read.revision])
    assert changed.revision == store.threads.get(thread_id).revision != read.revision
    assert not flat.exists()
