"""Threads as folders: made whole, changed with care, deleted aside, and whatever people do to them by hand."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from jan.errors import InvalidArgumentError, NotFoundError, StorageFullError
from jan.ids import AssistantId, MessageId, ThreadId
from storage_service.store.paging import PageQuery
from storage_service.store.records import Message, Role, Thread, ThreadAssistant
from storage_service.store.store import Store
from tests.storage_service.conftest import BLANK, SteppingClock

JAN = AssistantId("jan")
ALL = PageQuery(limit=100, descending=False)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def listed(store: Store) -> list[str]:
    return [thread.id for thread in store.threads.page(ALL).items]


def test_a_new_thread_is_jans_folder(store: Store, janroot: Path) -> None:
    override = ThreadAssistant(JAN, "Jan", "Be brief.", "demo", {"ctx_len": 2048}, {"temperature": 0.5})
    made = store.threads.create(JAN, replace(BLANK, title="Trip", assistants=(override,), metadata={"a": "b"}))
    assert made.id == f"jan_{made.created_ms // 1000}"
    assert json.loads((janroot / "threads" / made.id / "thread.json").read_text()) == {
        "id": made.id,
        "object": "thread",
        "title": "Trip",
        "assistants": [
            {
                "assistant_id": "jan",
                "assistant_name": "Jan",
                "instructions": "Be brief.",
                "model": {"id": "demo", "settings": {"ctx_len": 2048}, "parameters": {"temperature": 0.5}},
            }
        ],
        "created": made.created_ms,
        "updated": made.created_ms,
        "metadata": {"a": "b"},
    }
    assert store.threads.get(made.id).assistants == (override,)


def test_threads_of_one_second_get_numbers_and_keep_their_order(store: Store, clock: SteppingClock) -> None:
    made = []
    for _ in range(12):
        clock.now_ms = 1_704_504_633_000
        made.append(store.threads.create(JAN, BLANK).id)
    assert made[0] == "jan_1704504634"
    assert made[1:] == [f"jan_1704504634-{number}" for number in range(2, 13)]
    assert listed(store) == made


def test_the_order_outlives_a_restart(store: Store, janroot: Path, clock: SteppingClock) -> None:
    made = []
    for _ in range(12):
        clock.now_ms = 1_704_504_633_000
        made.append(store.threads.create(JAN, BLANK).id)
    store.close()
    reopened = Store.open(janroot)
    assert listed(reopened) == made
    reopened.close()


def test_first_messages_come_with_the_thread(store: Store, janroot: Path) -> None:
    content = [{"type": "text", "text": {"value": "Hi", "annotations": []}}]
    first = [Message(MessageId(name), ThreadId(""), Role.USER, content) for name in ("m1", "m2")]
    made = store.threads.create(JAN, BLANK, first)
    lines = (janroot / "threads" / made.id / "messages.jsonl").read_text().splitlines()
    assert [json.loads(line)["thread_id"] for line in lines] == [made.id, made.id]
    assert [message.id for message in store.messages.page(made.id, ALL).items] == ["m1", "m2"]


def test_a_thread_that_cannot_be_made_leaves_nothing(
    store: Store, janroot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full)
        with pytest.raises(StorageFullError):
            store.threads.create(JAN, BLANK)
    assert list((janroot / "threads").iterdir()) == []
    assert list((janroot / ".server" / "staging").iterdir()) == []
    assert listed(store) == []


def test_half_a_thread_left_by_a_crash_is_no_thread(store: Store, janroot: Path) -> None:
    (janroot / "threads" / "jan_1704504633").mkdir()
    write(janroot / ".server/staging/jan_1704504633/thread.json", "{}")
    store.close()
    reopened = Store.open(janroot)
    assert listed(reopened) == []
    assert list((janroot / ".server" / "staging").iterdir()) == []
    with pytest.raises(NotFoundError):
        reopened.threads.get(ThreadId("jan_1704504633"))
    reopened.close()


def test_a_change_keeps_what_it_does_not_know(store: Store, janroot: Path) -> None:
    path = janroot / "threads" / "jan_1704504633" / "thread.json"
    file = {
        "id": "jan_1704504633",
        "object": "thread",
        "title": "Old",
        "isFinishInit": True,
        "created": 1704504633.5,
        "updated": 1704504700,
        "assistants": [
            {"assistant_id": "jan", "tools": [{"type": "retrieval"}], "model": {"id": "*", "engine": "nitro"}}
        ],
        "metadata": {"lastMessage": "hello", "order": 1},
    }
    write(path, json.dumps(file))
    thread_id = ThreadId("jan_1704504633")
    changed = store.threads.change(thread_id, lambda thread: replace(thread, title="New"))
    after = json.loads(path.read_text())
    assert after == file | {"title": "New", "updated": changed.updated_ms}

    override = ThreadAssistant(JAN, model_id="demo", parameters={"top_p": 1})
    store.threads.change(thread_id, lambda thread: replace(thread, assistants=(override,)))
    [assistant] = json.loads(path.read_text())["assistants"]
    assert assistant["tools"] == [{"type": "retrieval"}]
    assert assistant["model"] == {"id": "demo", "engine": "nitro", "settings": {}, "parameters": {"top_p": 1}}


def test_clearing_a_field_takes_its_key_away(store: Store, janroot: Path) -> None:
    made = store.threads.create(JAN, replace(BLANK, tool_resources={"file_search": {}}))
    store.threads.change(made.id, lambda thread: replace(thread, tool_resources=None))
    assert "tool_resources" not in json.loads((janroot / "threads" / made.id / "thread.json").read_text())


def test_a_deleted_thread_goes_to_the_trash_and_its_name_with_it(
    store: Store, janroot: Path, clock: SteppingClock, thread: Thread
) -> None:
    store.delete_thread(thread.id)
    assert listed(store) == []
    assert list((janroot / ".server" / "trash").glob(f"thread-*/{thread.id}/thread.json"))
    with pytest.raises(NotFoundError, match=f"No thread found with id '{thread.id}'"):
        store.delete_thread(thread.id)
    clock.now_ms = thread.created_ms - 1000
    assert store.threads.create(JAN, BLANK).id == f"{thread.id}-2"


class TestByHand:
    """Edits with an editor, a file manager or desktop Jan are noticed, and win."""

    def test_a_changed_file_is_read(self, store: Store, janroot: Path, thread: Thread) -> None:
        write(janroot / "threads" / thread.id / "thread.json", '{"title": "By hand", "created": 1704504633}')
        assert store.threads.get(thread.id).title == "By hand"

    def test_a_copied_folder_appears(self, store: Store, janroot: Path, thread: Thread) -> None:
        assert listed(store) == [thread.id]
        shutil.copytree(janroot / "threads" / thread.id, janroot / "threads" / "copy")
        assert listed(store) == ["copy", thread.id]
        assert store.threads.get(ThreadId("copy")).id == "copy"

    def test_a_folder_that_fills_slowly_appears_when_it_is_one(self, store: Store, janroot: Path) -> None:
        (janroot / "threads" / "slow").mkdir()
        assert listed(store) == []
        write(janroot / "threads" / "slow" / "thread.json", "{}")
        assert listed(store) == ["slow"]

    def test_a_removed_folder_is_gone(self, store: Store, janroot: Path, thread: Thread) -> None:
        assert listed(store) == [thread.id]
        shutil.rmtree(janroot / "threads" / thread.id)
        assert listed(store) == []
        with pytest.raises(InvalidArgumentError):
            store.threads.page(replace(ALL, after=thread.id))

    def test_a_thread_moved_in_time_moves_in_the_list(self, store: Store, janroot: Path) -> None:
        first, second = (store.threads.create(JAN, BLANK).id for _ in range(2))
        assert listed(store) == [first, second]
        write(janroot / "threads" / first / "thread.json", '{"created": 1999999999000}')
        assert listed(store) == [second, first]

    def test_damage_hides_no_neighbour(self, store: Store, janroot: Path, thread: Thread) -> None:
        threads = janroot / "threads"
        write(threads / ".DS_Store", "stray")
        write(threads / "stray.json", "{}")
        write(threads / "name with spaces" / "thread.json", "{}")
        write(threads / "jan_1704500001" / "thread.json", "{ invalid")
        write(threads / "jan_1704500002" / "thread.json", "")
        write(threads / "jan_1704500003" / "messages.jsonl", '{"id":"m","role":"user","content":"hello"}\n')
        write(threads / "jan_1704500004" / "thread.json", "[1, 2]")
        write(threads / "undefined_1704500005" / "thread.json", '{"id": "other", "assistants": 7, "metadata": null}')
        (threads / "empty").mkdir()
        (threads / "jan_1704500006" / "thread.json").mkdir(parents=True)
        (threads / "linked").symlink_to(threads / thread.id)
        broken = [f"jan_170450000{number}" for number in range(1, 5)]
        assert listed(store) == [*broken, "undefined_1704500005", thread.id]
        assert store.threads.get(ThreadId("jan_1704500001")).created_ms == 1704500001000
        assert store.threads.get(ThreadId("undefined_1704500005")).id == "undefined_1704500005"

    def test_an_invalid_file_is_kept_aside_before_it_is_replaced(self, store: Store, janroot: Path) -> None:
        write(janroot / "threads" / "jan_1704500001" / "thread.json", "{ invalid")
        store.threads.change(ThreadId("jan_1704500001"), lambda thread: replace(thread, title="Mended"))
        assert store.threads.get(ThreadId("jan_1704500001")).title == "Mended"
        [kept] = (janroot / ".server" / "quarantine").iterdir()
        assert kept.read_text() == "{ invalid"
