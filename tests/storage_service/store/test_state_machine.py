"""Random work on a store, with crashes and edits by hand, against a dict; the files are read without the store."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from jan.errors import FailedPreconditionError
from jan.ids import AssistantId, MessageId, ThreadId, TrashId
from storage_service.store.paging import Page, PageQuery
from storage_service.store.records import Message, Role, Thread
from storage_service.store.store import Store
from tests.storage_service.conftest import BLANK, SteppingClock

ALL = PageQuery(limit=100, descending=False)
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12)
TORN = st.sampled_from([b"", b"{", b'{"id":"torn","content":', b"\x00" * 40])

Messages = dict[str, tuple[str, dict[str, str]]]
"""Messages as they should be: id to text and metadata, in order."""


@dataclass
class Expected:
    """A thread as it should be."""

    created_ms: int
    title: str
    messages: Messages = field(default_factory=dict)


class StoreMachine(RuleBasedStateMachine):
    """The model: threads by id, what was deleted and what was cleared by the id of the deletion."""

    threads = Bundle("threads")
    messages = Bundle("messages")
    deletions = Bundle("deletions")
    clearings = Bundle("clearings")

    @initialize()
    def open(self) -> None:
        self.janroot = Path(tempfile.mkdtemp(prefix="janroot-"))
        self.clock = SteppingClock()
        self.store = Store.open(self.janroot, clock=self.clock)
        self.expected: dict[ThreadId, Expected] = {}
        self.deleted: dict[TrashId, tuple[ThreadId, Expected]] = {}
        self.cleared: dict[TrashId, tuple[ThreadId, Messages]] = {}
        self.made = 0

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.janroot)

    @rule(target=threads, title=TEXT, back_ms=st.integers(0, 5000))
    def create_thread(self, title: str, back_ms: int) -> ThreadId:
        self.clock.now_ms -= back_ms
        return self._note(self.store.threads.create(AssistantId("jan"), replace(BLANK, title=title)), {})

    @rule(target=threads, thread_id=threads)
    def clone_thread(self, thread_id: ThreadId) -> object:
        if thread_id not in self.expected:
            return multiple()
        return self._note(self.store.clone_thread(thread_id), copy.copy(self.expected[thread_id].messages))

    @rule(thread_id=threads, title=TEXT)
    def rename_thread(self, thread_id: ThreadId, title: str) -> None:
        if thread_id in self.expected:
            self.store.threads.change(thread_id, lambda thread: replace(thread, title=title))
            self.expected[thread_id].title = title

    @rule(target=deletions, thread_id=threads)
    def delete_thread(self, thread_id: ThreadId) -> object:
        if thread_id not in self.expected:
            return multiple()
        [deletion] = self._newly_in_trash(lambda: self.store.delete_thread(thread_id))
        self.deleted[deletion] = (thread_id, self.expected.pop(thread_id))
        return deletion

    @rule(deletion=consumes(deletions))
    def restore_thread(self, deletion: TrashId) -> None:
        self.store.restore(deletion)
        thread_id, thread = self.deleted.pop(deletion)
        self.expected[thread_id] = thread

    @rule(target=clearings, thread_id=threads)
    def clear_thread(self, thread_id: ThreadId) -> object:
        if thread_id not in self.expected:
            return multiple()
        clearings = self._newly_in_trash(lambda: self.store.clear_thread(thread_id))
        thread = self.expected[thread_id]
        assert clearings or not thread.messages
        self.cleared |= dict.fromkeys(clearings, (thread_id, thread.messages))
        thread.messages = {}
        return multiple(*clearings)

    @rule(clearing=consumes(clearings))
    def restore_messages(self, clearing: TrashId) -> None:
        thread_id, messages = self.cleared[clearing]
        if thread_id not in self.expected or self._lines(thread_id).exists():
            with pytest.raises(FailedPreconditionError):
                self.store.restore(clearing)
            return
        self.store.restore(clearing)
        del self.cleared[clearing]
        self.expected[thread_id].messages = messages

    @rule(target=messages, thread_id=threads, texts=st.lists(TEXT, min_size=1, max_size=3))
    def append(self, thread_id: ThreadId, texts: list[str]) -> object:
        if thread_id not in self.expected:
            return multiple()
        new = []
        for text in texts:
            content = [{"type": "text", "text": {"value": text, "annotations": []}}]
            new.append(Message(self._new_id(), thread_id, Role.USER, content))
            self.expected[thread_id].messages[new[-1].id] = (text, {})
        self.store.messages.append(thread_id, new)
        assert [item.id for item in self.store.messages.append(thread_id, new)] == [item.id for item in new]
        return multiple(*((thread_id, item.id) for item in new))

    @rule(message=messages, value=TEXT)
    def change_message(self, message: tuple[ThreadId, MessageId], value: str) -> None:
        thread_id, message_id = message
        if self._has(message):
            self.store.messages.change(thread_id, message_id, lambda old: replace(old, metadata={"k": value}))
            text, _ = self.expected[thread_id].messages[message_id]
            self.expected[thread_id].messages[message_id] = (text, {"k": value})

    @rule(message=messages)
    def delete_message(self, message: tuple[ThreadId, MessageId]) -> None:
        if self._has(message):
            self.store.messages.delete(*message)
            del self.expected[message[0]].messages[message[1]]

    @rule(thread_id=threads, title=TEXT)
    def rename_by_hand(self, thread_id: ThreadId, title: str) -> None:
        if thread_id in self.expected:
            path = self.janroot / "threads" / thread_id / "thread.json"
            path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"title": title}))
            self.expected[thread_id].title = title

    @rule(target=messages, thread_id=threads, text=TEXT)
    def append_by_hand(self, thread_id: ThreadId, text: str) -> object:
        if thread_id not in self.expected or not ends_whole(self._lines(thread_id)):
            return multiple()
        name, last = self._new_id(), self.store.messages.page(thread_id, PageQuery(limit=1)).items
        content = [{"type": "text", "text": {"value": text, "annotations": []}}]
        created = max(self.clock(), *(message.created_ms for message in last), 0)
        line = {"id": name, "thread_id": thread_id, "role": "user", "content": content, "created": created}
        with self._lines(thread_id).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.expected[thread_id].messages[name] = (text, {})
        return (thread_id, name)

    @rule(thread_id=threads)
    def page_everywhere(self, thread_id: ThreadId) -> None:
        if thread_id in self.expected:
            said = list(self.expected[thread_id].messages)
            check_pages(said, lambda query: self.store.messages.page(thread_id, query))
        in_order = sorted(self.expected.items(), key=lambda item: item[1].created_ms)
        check_pages([name for name, _ in in_order], self.store.threads.page)

    @rule(tail=TORN, data=st.data())
    def crash(self, tail: bytes, data: st.DataObject) -> None:
        """The process dies, in the middle of an append that nobody was told of; another one starts."""
        self.store.close()
        if self.expected and tail:
            thread_id = data.draw(st.sampled_from(sorted(self.expected)))
            with self._lines(thread_id).open("ab") as file:
                file.write(tail)
        (self.janroot / ".server" / "staging" / "half").mkdir()
        self.store = Store.open(self.janroot, clock=self.clock)

    @invariant()
    def the_store_agrees(self) -> None:
        listed = self.store.threads.page(ALL).items
        assert {thread.id: thread.title for thread in listed} == {name: it.title for name, it in self.expected.items()}
        assert [thread.created_ms for thread in listed] == sorted(it.created_ms for it in self.expected.values())
        for thread_id, thread in self.expected.items():
            page = self.store.messages.page(thread_id, ALL).items
            found = [(item.id, item.content[0]["text"]["value"], item.metadata) for item in page]
            assert found == [(name, *value) for name, value in thread.messages.items()]
        assert self._trash() == self.deleted.keys() | self.cleared.keys()

    @invariant()
    def the_files_agree(self) -> None:
        folders = {path.name for path in (self.janroot / "threads").iterdir()}
        assert folders == set(self.expected)
        for thread_id, thread in self.expected.items():
            path = self.janroot / "threads" / thread_id / "thread.json"
            assert json.loads(path.read_text("utf-8"))["title"] == thread.title
            assert whole_lines(self._lines(thread_id)) == list(thread.messages)
        trash = self.janroot / ".server" / "trash"
        for trash_id, (thread_id, thread) in self.deleted.items():
            assert whole_lines(trash / trash_id / thread_id / "messages.jsonl") == list(thread.messages)
        for trash_id, (thread_id, messages) in self.cleared.items():
            assert whole_lines(trash / trash_id / thread_id / "messages.jsonl") == list(messages)

    def _note(self, thread: Thread, messages: Messages) -> ThreadId:
        taken = {thread_id for thread_id, _ in self.deleted.values()} | self.expected.keys()
        assert thread.id not in taken
        self.expected[thread.id] = Expected(thread.created_ms, thread.title, messages)
        return thread.id

    def _has(self, message: tuple[ThreadId, MessageId]) -> bool:
        thread_id, message_id = message
        return thread_id in self.expected and message_id in self.expected[thread_id].messages

    def _newly_in_trash(self, work: Callable[[], object]) -> set[TrashId]:
        before = self._trash()
        work()
        return self._trash() - before

    def _trash(self) -> set[TrashId]:
        return {entry.id for entry in self.store.trash.page(ALL).items}

    def _lines(self, thread_id: ThreadId) -> Path:
        return self.janroot / "threads" / thread_id / "messages.jsonl"

    def _new_id(self) -> MessageId:
        self.made += 1
        return MessageId(f"msg_{self.made}")


def check_pages(ids: Sequence[str], ask: Callable[[PageQuery], Page[Thread] | Page[Message]]) -> None:
    """Every page, from every edge, in both directions, must be the stretch of the list that it should be."""
    for descending in (False, True):
        order = list(ids)[::-1] if descending else list(ids)
        for limit in {1, 2, len(order) + 1}:
            base = PageQuery(limit=limit, descending=descending)
            check_page(ask(base), order[:limit], len(order) > limit)
            for position, cursor in enumerate(order):
                rest, front = order[position + 1 :], order[:position]
                check_page(ask(replace(base, after=cursor)), rest[:limit], len(rest) > limit)
                check_page(ask(replace(base, before=cursor)), front[-limit:], len(front) > limit)


def check_page(page: Page[Thread] | Page[Message], ids: list[str], has_more: bool) -> None:
    assert ([item.id for item in page.items], page.has_more) == (ids, has_more)


def whole_lines(file: Path) -> list[str]:
    """The ids in a file, as any program that skips what is no JSON line would find them."""
    ids = []
    for line in file.read_bytes().splitlines() if file.exists() else []:
        try:
            ids.append(json.loads(line)["id"])
        except (ValueError, KeyError):
            continue
    return ids


def ends_whole(file: Path) -> bool:
    """Whether a line can be appended by a program that does not look what is in front of it."""
    return not file.exists() or file.read_bytes()[-1:] in {b"", b"\n"}


StoreMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestStore = StoreMachine.TestCase
