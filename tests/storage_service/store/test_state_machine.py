"""Random work on a store, with crashes, against a dict; the files are read without the store."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from jan.ids import AssistantId, MessageId, ThreadId
from storage_service.store.paging import PageQuery
from storage_service.store.records import Message, Role
from storage_service.store.store import Store
from tests.storage_service.conftest import BLANK, SteppingClock

ALL = PageQuery(limit=100, descending=False)
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12)
TORN = st.sampled_from([b"", b"{", b'{"id":"torn","content":', b"\x00" * 40])


class StoreMachine(RuleBasedStateMachine):
    """The model: thread id to title, and to its messages as id to (text, metadata), in order."""

    threads = Bundle("threads")
    messages = Bundle("messages")

    @initialize()
    def open(self) -> None:
        self.janroot = Path(tempfile.mkdtemp(prefix="janroot-"))
        self.clock = SteppingClock()
        self.store = Store.open(self.janroot, clock=self.clock)
        self.titles: dict[str, str] = {}
        self.expected: dict[str, dict[str, tuple[str, dict[str, str]]]] = {}
        self.made = 0

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.janroot)

    @rule(target=threads, title=TEXT, back_ms=st.integers(0, 5000))
    def create_thread(self, title: str, back_ms: int) -> ThreadId:
        self.clock.now_ms -= back_ms
        thread = self.store.threads.create(AssistantId("jan"), replace(BLANK, title=title))
        assert thread.id not in self.titles
        self.titles[thread.id], self.expected[thread.id] = title, {}
        return thread.id

    @rule(thread_id=threads, title=TEXT)
    def rename_thread(self, thread_id: ThreadId, title: str) -> None:
        self.store.threads.change(thread_id, lambda thread: replace(thread, title=title))
        self.titles[thread_id] = title

    @rule(thread_id=consumes(threads))
    def delete_thread(self, thread_id: ThreadId) -> None:
        self.store.delete_thread(thread_id)
        del self.titles[thread_id], self.expected[thread_id]

    @rule(target=messages, thread_id=threads, texts=st.lists(TEXT, min_size=1, max_size=3))
    def append(self, thread_id: ThreadId, texts: list[str]) -> object:
        new = []
        for text in texts:
            self.made += 1
            content = [{"type": "text", "text": {"value": text, "annotations": []}}]
            new.append(Message(MessageId(f"msg_{self.made}"), thread_id, Role.USER, content))
            self.expected[thread_id][new[-1].id] = (text, {})
        self.store.messages.append(thread_id, new)
        assert [item.id for item in self.store.messages.append(thread_id, new)] == [item.id for item in new]
        return multiple(*((thread_id, item.id) for item in new))

    @rule(message=messages, value=TEXT)
    def change_message(self, message: tuple[ThreadId, MessageId], value: str) -> None:
        thread_id, message_id = message
        if thread_id in self.titles:
            self.store.messages.change(thread_id, message_id, lambda old: replace(old, metadata={"k": value}))
            self.expected[thread_id][message_id] = (self.expected[thread_id][message_id][0], {"k": value})

    @rule(message=consumes(messages))
    def delete_message(self, message: tuple[ThreadId, MessageId]) -> None:
        thread_id, message_id = message
        if thread_id in self.titles:
            self.store.messages.delete(thread_id, message_id)
            del self.expected[thread_id][message_id]

    @rule(tail=TORN, data=st.data())
    def crash(self, tail: bytes, data: st.DataObject) -> None:
        """The process dies, in the middle of an append that nobody was told of; another one starts."""
        self.store.close()
        if self.titles and tail:
            thread_id = data.draw(st.sampled_from(sorted(self.titles)))
            with (self.janroot / "threads" / thread_id / "messages.jsonl").open("ab") as file:
                file.write(tail)
        (self.janroot / ".server" / "staging" / "half").mkdir()
        self.store = Store.open(self.janroot, clock=self.clock)

    @invariant()
    def the_store_agrees(self) -> None:
        listed = self.store.threads.page(ALL).items
        assert {thread.id: thread.title for thread in listed} == self.titles
        assert [thread.created_ms for thread in listed] == sorted(thread.created_ms for thread in listed)
        for thread_id, messages in self.expected.items():
            page = self.store.messages.page(ThreadId(thread_id), ALL).items
            found = [(item.id, item.content[0]["text"]["value"], item.metadata) for item in page]
            assert found == [(name, *value) for name, value in messages.items()]

    @invariant()
    def the_files_agree(self) -> None:
        folders = {path.name for path in (self.janroot / "threads").iterdir()}
        assert folders == set(self.titles)
        for thread_id, messages in self.expected.items():
            folder = self.janroot / "threads" / thread_id
            assert json.loads((folder / "thread.json").read_text())["title"] == self.titles[thread_id]
            file = folder / "messages.jsonl"
            assert list(whole_lines(file)) == list(messages)


def whole_lines(file: Path) -> list[str]:
    """The ids in a file, as any program that skips what is no JSON line would find them."""
    ids = []
    for line in file.read_bytes().splitlines() if file.exists() else []:
        try:
            ids.append(json.loads(line)["id"])
        except (ValueError, KeyError):
            continue
    return ids


StoreMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestStore = StoreMachine.TestCase
