"""Search over all messages: right after every write, after edits by hand, and after its index was lost."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jan.errors import InvalidArgumentError
from jan.ids import AssistantId, MessageId, ThreadId
from jan.storage.v1 import messages_pb2, threads_pb2
from storage_service.search import Search
from storage_service.store.paging import PageQuery
from storage_service.store.records import Message, Role
from storage_service.store.search import SearchIndex
from storage_service.store.store import Store
from tests.fixtures.storage import StorageServer
from tests.storage_service.conftest import BLANK, SteppingClock

JAN = AssistantId("jan")


def said(name: str, text: str) -> Message:
    return Message(MessageId(name), ThreadId(""), Role.USER, [{"type": "text", "text": {"value": text}}])


class Desk:
    """A store with its search, of which nothing runs by itself: `settle` does what is to be done."""

    def __init__(self, janroot: Path) -> None:
        self.path = janroot / ".server" / "index" / "search.sqlite"
        self.janroot = janroot
        self.open()

    def open(self) -> None:
        self.store = Store.open(self.janroot, clock=SteppingClock())
        self.search = Search(self.store)
        self.index = SearchIndex(self.path)

    def close(self) -> None:
        self.index.close()
        self.search._asking.shutdown()
        self.search._close_reader()
        self.store.close()

    def thread(self, *texts: str) -> ThreadId:
        thread = self.store.create_thread(JAN, BLANK)
        for number, text in enumerate(texts):
            self.store.messages.append(thread.id, [said(f"m{number}", text)])
        return thread.id

    def settle(self) -> None:
        self.search._take_in(self.index)
        self.index.commit()

    def look(self) -> None:
        self.store.census.visit_all()
        self.search.compare(self.store.census.messages())
        self.settle()

    def find(self, query: str, page: PageQuery | None = None) -> list[tuple[str, str, str]]:
        hits = self.search._page(query, page or PageQuery()).items
        return [(hit.thread_id, hit.message_id, hit.snippet) for hit in hits]

    def threads(self, query: str) -> set[str]:
        return {thread_id for thread_id, _, _ in self.find(query)}


@pytest.fixture
def desk(janroot: Path) -> Iterator[Desk]:
    desk = Desk(janroot)
    yield desk
    desk.close()


def test_a_message_is_found_with_the_stretch_that_matches(desk: Desk) -> None:
    rome = desk.thread("Good morning", "word " * 50 + "what would a week in Rome cost?" + " more" * 50)
    desk.thread("A week in Oslo")
    desk.settle()
    [(thread_id, message_id, snippet)] = desk.find("week ROME")
    assert (thread_id, message_id) == (rome, "m1")
    assert "week in Rome" in snippet
    assert len(snippet) < 150


def test_the_best_comes_first_and_each_thread_once(desk: Desk) -> None:
    passing = desk.thread("rome and " + "many other words " * 30)
    devoted = desk.thread("Rome, rome, rome", "rome")
    desk.settle()
    assert [found for found, _, _ in desk.find("rome")] == [devoted, passing]
    first = desk.search._page("rome", PageQuery(limit=1))
    assert ([hit.thread_id for hit in first.items], first.has_more) == ([devoted], True)
    rest = desk.search._page("rome", PageQuery(limit=1, after=devoted))
    assert ([hit.thread_id for hit in rest.items], rest.has_more) == ([passing], False)
    with pytest.raises(InvalidArgumentError):
        desk.search._page("rome", PageQuery(after="jan_1"))


def test_accents_and_case_make_no_difference(desk: Desk) -> None:
    found = desk.thread("Crème brûlée für Ümit")
    desk.settle()
    assert desk.threads("CREME brulee umit") == {found}


@pytest.mark.parametrize(
    "query",
    [
        '"', "'", "*", "rome*", "-rome", "^rome", "NEAR(rome week)", "rome AND", "OR rome", "text:rome", "(rome",
        '"rome" OR "x" --', "rome\x00", "rome; DROP TABLE words", "{rome}:x", "+" * 500, "a " * 500, "é" * 1000, "😀",
        "NOT rome",
    ],
)  # fmt: skip
def test_no_query_is_more_than_words(desk: Desk, query: str) -> None:
    found = desk.thread("near and not or drop table words text rome week x a")
    desk.settle()
    assert desk.threads(query) <= {found}
    assert desk.threads("rome") == {found}


def test_changes_and_deletions_are_followed(desk: Desk) -> None:
    first, second = desk.thread("alpha", "beta"), desk.thread("alpha")
    desk.settle()
    assert desk.threads("alpha") == {first, second}
    content = said("x", "gamma").content
    desk.store.messages.change(first, MessageId("m0"), lambda old: replace(old, content=content))
    desk.store.delete_thread(second)
    desk.settle()
    assert (desk.threads("alpha"), desk.threads("gamma")) == (set(), {first})
    desk.store.messages.delete(first, MessageId("m1"))
    desk.settle()
    assert desk.threads("beta") == set()


def test_an_append_reads_no_file(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    thread_id = desk.thread("alpha")
    desk.settle()
    monkeypatch.setattr(SearchIndex, "update", None)
    desk.store.messages.append(thread_id, [said("new", "beta")])
    desk.store.messages.append(thread_id, [said("newer", "gamma")])
    desk.settle()
    assert desk.threads("beta") == desk.threads("gamma") == {thread_id}


def test_what_others_write_is_found_when_it_was_seen(desk: Desk, janroot: Path) -> None:
    thread_id = desk.thread("alpha")
    desk.look()
    with (janroot / "threads" / thread_id / "messages.jsonl").open("a") as out:
        out.write(json.dumps({"id": "hand", "role": "user", "content": "beta"}) + "\n")
    desk.look()
    assert desk.threads("beta") == {thread_id}
    (janroot / "threads" / thread_id / "messages.jsonl").write_text('{"id": "hand", "content": "gamma"}\n')
    (janroot / "threads" / "copied").mkdir()
    (janroot / "threads" / "copied" / "messages.jsonl").write_text('{"id": "hand", "content": "gamma"}\n')
    desk.look()
    assert desk.threads("beta") == set()
    assert desk.threads("gamma") == {thread_id, "copied"}


def test_what_was_written_while_it_was_not_looking_is_caught_up(desk: Desk) -> None:
    """A crash loses the notes; the digests tell."""
    kept = desk.thread("alpha")
    desk.look()
    desk.store.messages.append(kept, [said("late", "beta")])
    lost = desk.thread("beta")
    desk.close()
    desk.open()
    assert desk.threads("beta") == set()
    desk.look()
    assert desk.threads("beta") == {kept, lost}


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 100, None])
def test_an_index_that_is_gone_or_broken_is_made_anew(desk: Desk, damage: bytes | None) -> None:
    thread_id = desk.thread("alpha")
    desk.look()
    desk.close()
    if damage is None:
        database = sqlite3.connect(desk.path)
        database.execute("PRAGMA user_version = 99")
        database.close()
    else:
        desk.path.write_bytes(damage)
    desk.store = Store.open(desk.janroot)
    desk.search = Search(desk.store)
    assert desk.threads("alpha") == (set() if damage is not None else {thread_id})
    desk.store.census.visit_all()
    desk.search.compare(desk.store.census.messages())
    desk.search.start()
    deadline = time.monotonic() + 10
    while desk.threads("alpha") != {thread_id}:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    desk.search.stop()


class TestServed:
    async def test_a_message_is_found_a_moment_after_its_acknowledgement(self, storage_server: StorageServer) -> None:
        threads = storage_server.threads
        made = (await threads.CreateThread(threads_pb2.CreateThreadRequest())).thread
        content = json.dumps([{"type": "text", "text": {"value": "the needle", "annotations": []}}])
        await storage_server.messages.CreateMessage(
            messages_pb2.CreateMessageRequest(
                message=messages_pb2.Message(
                    id="msg_1", thread_id=made.id, role=messages_pb2.MESSAGE_ROLE_USER, content_json=content
                )
            )
        )

        async def found() -> bool:
            answer = await threads.SearchThreads(threads_pb2.SearchThreadsRequest(query="needle"))
            return [(match.thread.id, match.message_id) for match in answer.matches] == [(made.id, "msg_1")]

        await soon(found)
        await threads.DeleteThread(threads_pb2.DeleteThreadRequest(thread_id=made.id))

        async def gone() -> bool:
            return not await found()

        await soon(gone)


async def soon(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(2):
        while not await condition():
            pass


def test_a_thread_without_messages_is_no_trouble(desk: Desk) -> None:
    desk.thread()
    desk.look()
    assert desk.threads("anything") == set()
