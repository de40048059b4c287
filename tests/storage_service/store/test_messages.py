"""Messages as lines: appended once, in order, rewritten without touching a neighbour."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jan.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError, TooLargeError
from jan.ids import AssistantId, MessageId, RunId, ThreadId
from storage_service.store import jsonl, paging
from storage_service.store.paging import PageQuery
from storage_service.store.records import Message, MessageStatus, Role, Run, RunStatus, Thread
from storage_service.store.store import Store
from tests.storage_service.conftest import SteppingClock

ALL = PageQuery(limit=100, descending=False)


def message(name: str, text: str = "Hi", role: Role = Role.USER, run_id: str = "") -> Message:
    content = [{"type": "text", "text": {"value": text, "annotations": []}}]
    return Message(MessageId(name), ThreadId(""), role, content, run_id=run_id)


def listed(store: Store, thread: Thread) -> list[str]:
    return [item.id for item in store.messages.page(thread.id, ALL).items]


@pytest.fixture
def file(janroot: Path, thread: Thread) -> Path:
    return janroot / "threads" / thread.id / "messages.jsonl"


def test_a_message_is_jans_line(store: Store, thread: Thread, file: Path) -> None:
    [stored] = store.messages.append(thread.id, [message("msg_1", "What would Rome cost?")])
    assert json.loads(file.read_text()) == {
        "id": "msg_1",
        "thread_id": thread.id,
        "role": "user",
        "status": "ready",
        "created": stored.created_ms,
        "updated": stored.created_ms,
        "object": "thread.message",
        "content": [{"type": "text", "text": {"value": "What would Rome cost?", "annotations": []}}],
        "completed_at": stored.created_ms,
    }
    assert store.messages.get(thread.id, stored.id) == stored


def test_an_answer_cut_short_keeps_its_reason(store: Store, thread: Thread, file: Path) -> None:
    store.runs.create(Run(RunId("run_1"), thread.id, AssistantId("jan"), RunStatus.COMPLETED, 1704504640000))
    cut = replace(
        message("msg_1", role=Role.ASSISTANT, run_id="run_1"),
        assistant_id="jan",
        status=MessageStatus.INCOMPLETE,
        incomplete_reason="max_tokens",
        metadata={"k": "v"},
        attachments=[{"file_id": "file-1", "tools": []}],
    )
    [stored] = store.messages.append(thread.id, [cut])
    assert stored.incomplete_ms == stored.created_ms
    assert stored.completed_ms is None
    assert json.loads(file.read_text())["status"] == "stopped"
    assert store.messages.get(thread.id, stored.id) == stored


def test_the_same_id_again_answers_the_stored_message(store: Store, thread: Thread, file: Path) -> None:
    [first] = store.messages.append(thread.id, [message("msg_1", "first")])
    again, new = store.messages.append(thread.id, [message("msg_1", "second"), message("msg_2")])
    assert again == first
    assert new.id == "msg_2"
    assert len(file.read_text().splitlines()) == 2


def test_times_never_decrease_when_the_clock_does(store: Store, thread: Thread, clock: SteppingClock) -> None:
    store.messages.append(thread.id, [message("a")])
    clock.now_ms -= 3_600_000
    store.messages.append(thread.id, [message("b"), message("c")])
    page = store.messages.page(thread.id, ALL).items
    assert [item.id for item in page] == ["a", "b", "c"]
    assert [item.created_ms for item in page] == sorted(item.created_ms for item in page)


def test_pages_go_both_ways(store: Store, thread: Thread) -> None:
    store.messages.append(thread.id, [message(f"m{number}") for number in range(5)])
    newest = store.messages.page(thread.id, PageQuery(limit=2))
    assert ([item.id for item in newest.items], newest.has_more) == (["m4", "m3"], True)
    rest = store.messages.page(thread.id, PageQuery(limit=3, after="m3"))
    assert ([item.id for item in rest.items], rest.has_more) == (["m2", "m1", "m0"], False)
    with pytest.raises(InvalidArgumentError):
        store.messages.page(thread.id, PageQuery(after="unknown"))


@pytest.mark.parametrize("descending", [True, False])
def test_large_messages_make_short_pages(
    store: Store, thread: Thread, monkeypatch: pytest.MonkeyPatch, descending: bool
) -> None:
    store.messages.append(thread.id, [message(f"m{number}", "x" * 1000) for number in range(5)])
    store.messages.append(thread.id, [message("m5", "x" * 9000), message("m6")])
    monkeypatch.setattr(paging, "MAX_PAGE_BYTES", 3000)
    seen, after, more = [], None, True
    while more:
        page = store.messages.page(thread.id, PageQuery(100, descending, after))
        assert len(page.items) in (1, 2)
        seen += [item.id for item in page.items]
        after, more = seen[-1], page.has_more
    names = [f"m{number}" for number in range(7)]
    assert seen == (names[::-1] if descending else names)
    nearest = store.messages.page(thread.id, PageQuery(100, descending, before="m2"))
    assert [item.id for item in nearest.items] == (["m4", "m3"] if descending else ["m0", "m1"])
    assert nearest.has_more is descending


def test_a_runs_messages_are_a_list_of_their_own(store: Store, thread: Thread) -> None:
    store.runs.create(Run(RunId("run_1"), thread.id, AssistantId("jan"), RunStatus.COMPLETED, 1704504640000))
    store.messages.append(thread.id, [message("a"), message("b", run_id="run_1"), message("c", run_id="run_1")])
    page = store.messages.page(thread.id, PageQuery(limit=1, descending=False), run_id="run_1")
    assert ([item.id for item in page.items], page.has_more) == (["b"], True)
    with pytest.raises(InvalidArgumentError):
        store.messages.page(thread.id, PageQuery(after="a"), run_id="run_1")


def test_a_change_and_a_deletion_leave_every_other_byte(store: Store, thread: Thread, file: Path) -> None:
    store.messages.append(thread.id, [message("a"), message("b"), message("c")])
    before = file.read_bytes().splitlines()
    odd = b'  {"id": "odd",  "role":"user", "content":"spaces  stay", "created": 1704500000}'
    bad = b'{"id": "half'
    file.write_bytes(b"\n".join([odd, before[0], bad, before[1], before[2], b""]))
    store.messages.change(thread.id, MessageId("b"), lambda item: replace(item, metadata={"seen": "yes"}))
    store.messages.delete(thread.id, MessageId("a"))
    lines = file.read_bytes().splitlines()
    assert [lines[0], lines[1], lines[3]] == [odd.strip(), bad, before[2]]
    assert json.loads(lines[2])["metadata"] == {"seen": "yes"}
    assert listed(store, thread) == ["odd", "b", "c"]
    with pytest.raises(NotFoundError, match="No message found with id 'a'"):
        store.messages.delete(thread.id, MessageId("a"))


def test_a_change_keeps_jans_own_keys_and_units(store: Store, thread: Thread, file: Path) -> None:
    line = {
        "id": "x",
        "type": "Thread",
        "role": "assistant",
        "created_at": 1704504640,
        "status": "error",
        "content": "old",
    }
    file.write_text(json.dumps(line) + "\n")
    store.messages.change(thread.id, MessageId("x"), lambda item: replace(item, metadata={"k": "v"}))
    after = json.loads(file.read_text())
    assert {key: after[key] for key in line} == line
    assert after["metadata"] == {"k": "v"}


class TestByHand:
    def test_lines_added_and_removed_by_hand_are_seen(self, store: Store, thread: Thread, file: Path) -> None:
        store.messages.append(thread.id, [message("a")])
        with file.open("a") as out:
            out.write('{"id":"hand","role":"user","content":"added","created":1999999999000}\n')
        assert listed(store, thread) == ["a", "hand"]
        file.write_text("")
        assert listed(store, thread) == []
        store.messages.append(thread.id, [message("a")])
        assert listed(store, thread) == ["a"]

    def test_a_file_that_lists_the_newest_first_is_put_in_order(self, store: Store, thread: Thread, file: Path) -> None:
        file.write_text("".join(f'{{"id":"m{n}","content":"x","created":{1704504640 + n}}}\n' for n in (2, 1, 0)))
        assert listed(store, thread) == ["m0", "m1", "m2"]

    def test_damage_hides_no_neighbour(self, store: Store, thread: Thread, file: Path) -> None:
        file.write_bytes(
            b'{"id":"a","role":"user","content":"string","created":1704504640111}\r\n'
            b'{"id":"b","role":"??","content":7}{"id":"c","content":[{"type":"text"},3]}\n'
            b"not json\n\n"
            b'{"no":"id"}\n'
            b'{"id":"../x"}\n'
            b'{"id":"a","role":"assistant","content":"later line of the same id"}\n'
            b'{"id":"torn'
        )
        page = store.messages.page(thread.id, ALL).items
        assert [item.id for item in page] == ["a", "b", "c"]
        assert page[0].content == [{"type": "text", "text": {"value": "later line of the same id", "annotations": []}}]
        store.messages.append(thread.id, [message("d")])
        assert listed(store, thread) == ["a", "b", "c", "d"]

    def test_a_lost_final_newline_glues_nothing(self, store: Store, thread: Thread, file: Path) -> None:
        store.messages.append(thread.id, [message("a")])
        file.write_bytes(file.read_bytes().rstrip())
        store.messages.append(thread.id, [message("b")])
        assert listed(store, thread) == ["a", "b"]
        assert len(file.read_bytes().splitlines()) == 2


class TestWhileARunIsActive:
    @pytest.fixture(autouse=True)
    def run(self, store: Store, thread: Thread) -> Run:
        return store.runs.create(Run(RunId("run_1"), thread.id, AssistantId("jan"), RunStatus.QUEUED, 1704504640000))

    def test_only_the_runs_own_messages_are_taken(self, store: Store, thread: Thread) -> None:
        with pytest.raises(FailedPreconditionError) as refused:
            store.messages.append(thread.id, [message("a")])
        assert str(refused.value) == f"Can't add messages to {thread.id} while a run run_1 is active."
        store.messages.append(thread.id, [message("b", role=Role.ASSISTANT, run_id="run_1")])
        assert listed(store, thread) == ["b"]

    def test_a_message_that_is_stored_already_is_still_answered(self, store: Store, thread: Thread, run: Run) -> None:
        store.runs.update(replace(run, status=RunStatus.CANCELLED))
        [stored] = store.messages.append(thread.id, [message("a")])
        store.runs.create(replace(run, id=RunId("run_2")))
        assert store.messages.append(thread.id, [message("a")]) == [stored]


def test_an_unknown_thread_has_no_messages(store: Store) -> None:
    nowhere = ThreadId("jan_1")
    with pytest.raises(NotFoundError, match="No thread found with id 'jan_1'"):
        store.messages.append(nowhere, [message("a")])
    with pytest.raises(NotFoundError):
        store.messages.page(nowhere, ALL)
    with pytest.raises(NotFoundError):
        store.messages.get(nowhere, MessageId("a"))


def test_a_line_that_no_reader_would_take_is_not_written(
    store: Store, thread: Thread, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 1000)
    with pytest.raises(TooLargeError):
        store.messages.append(thread.id, [message("a", "x" * 1000)])
    assert not file.exists()
