"""Threads known at once from the last run's snapshot, and put right when it is wrong."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jan.ids import AssistantId, MessageId, RunId, ThreadId
from storage_service.store import census, order
from storage_service.store.paging import PageQuery
from storage_service.store.records import Message, Role, Run, RunStatus
from storage_service.store.store import Store
from tests.storage_service.conftest import BLANK

JAN = AssistantId("jan")
ALL = PageQuery(limit=100, descending=False)


def listed(store: Store) -> list[str]:
    return [thread.id for thread in store.threads.page(ALL).items]


def titles(store: Store) -> list[str]:
    return [thread.title for thread in store.threads.page(ALL).items]


@pytest.fixture
def filled(store: Store) -> list[ThreadId]:
    """Three threads in a janroot whose service has ended, with the snapshot that it left."""
    made = [store.threads.create(JAN, replace(BLANK, title=title)).id for title in ("one", "two", "three")]
    store.close()
    return made


@pytest.fixture
def lazy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for folders to be read: as in a janroot of very many threads."""
    monkeypatch.setattr(census, "_VISITS_AT_START", 0)
    monkeypatch.setattr(order, "_GLANCE_ITEMS", 0)


@pytest.fixture
def snapshot(janroot: Path) -> Path:
    return janroot / ".server" / "index" / "threads"


@pytest.mark.usefixtures("lazy")
class TestWithoutWaiting:
    def test_a_snapshot_lists_every_thread_at_once(self, janroot: Path, filled: list[ThreadId]) -> None:
        store = Store.open(janroot)
        assert listed(store) == filled
        store.close()

    def test_without_one_a_thread_is_read_by_id_and_listed_when_it_was_found(
        self, janroot: Path, filled: list[ThreadId], snapshot: Path
    ) -> None:
        snapshot.unlink()
        store = Store.open(janroot)
        assert listed(store) == []
        assert store.threads.get(filled[0]).title == "one"
        store.census.visit(filled[2])
        assert listed(store) == [filled[2]]
        store.census.visit_all()
        assert listed(store) == filled
        store.close()

    def test_a_cursor_that_was_not_found_yet_is_looked_for(
        self, janroot: Path, filled: list[ThreadId], snapshot: Path
    ) -> None:
        snapshot.unlink()
        store = Store.open(janroot)
        assert store.threads.page(replace(ALL, before=filled[1])).items == ()
        assert listed(store) == [filled[1]]
        store.close()

    def test_what_changed_while_nobody_looked_is_found_by_the_first_pass(
        self, janroot: Path, filled: list[ThreadId]
    ) -> None:
        threads = janroot / "threads"
        (threads / filled[0] / "thread.json").write_text('{"created": 1999999999000}')
        shutil.rmtree(threads / filled[1])
        shutil.copytree(threads / filled[2], threads / "jan_1704000000")
        (threads / "jan_1704000000" / "thread.json").write_text('{"created": 1704000000000}')
        store = Store.open(janroot)
        store.census.visit_all()
        assert store.threads.order.created().keys() == {"jan_1704000000", filled[2], filled[0]}
        assert listed(store) == ["jan_1704000000", filled[2], filled[0]]
        store.close()

    def test_active_runs_are_known_at_once_from_a_snapshot_and_else_found(
        self, janroot: Path, filled: list[ThreadId], snapshot: Path
    ) -> None:
        store = Store.open(janroot)
        store.runs.create(Run(RunId("run_1"), filled[1], JAN, RunStatus.QUEUED, 1))
        store.census.visit_all()
        store.close()

        store = Store.open(janroot)
        assert [run.id for run in store.runs.all_active()] == ["run_1"]
        store.close()

        snapshot.unlink()
        store = Store.open(janroot)
        assert store.runs.all_active() == []
        store.census.visit_all()
        assert [run.id for run in store.runs.all_active()] == ["run_1"]
        store.close()


def torn(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return data.replace(b"1704504", b"1704505")


def of_another_version(data: bytes) -> bytes:
    return data.replace(b"threads 1", b"threads 9")


def lying(data: bytes) -> bytes:
    """Whole and signed, and wrong all the same."""
    body = json.dumps({"ids": ["../../etc"], "created": [1], "thread": [1], "messages": [1], "runs": [1], "active": []})
    return data.split(b" ")[0] + b" threads 1 %08x\n" % zlib.crc32(body.encode()) + body.encode()


@pytest.mark.parametrize("damage", [torn, flipped, of_another_version, lying, lambda _: b"", lambda _: b"\x00" * 99])
def test_a_snapshot_that_cannot_be_trusted_is_thrown_away(
    janroot: Path, filled: list[ThreadId], snapshot: Path, damage: Callable[[bytes], bytes]
) -> None:
    snapshot.write_bytes(damage(snapshot.read_bytes()))
    store = Store.open(janroot)
    assert listed(store) == filled
    store.close()
    assert b"../" not in snapshot.read_bytes()


def test_a_snapshot_of_another_janroot_does_no_harm(janroot: Path, filled: list[ThreadId], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(janroot, other)
    shutil.rmtree(other / "threads")
    (other / "threads" / "jan_1").mkdir(parents=True)
    (other / "threads" / "jan_1" / "thread.json").write_text('{"title": "mine"}')
    store = Store.open(other)
    assert titles(store) == ["mine"]
    store.close()


def test_a_start_that_finds_nothing_new_writes_nothing(janroot: Path, filled: list[ThreadId], snapshot: Path) -> None:
    Store.open(janroot).close()
    before = snapshot.stat()
    Store.open(janroot).close()
    assert snapshot.stat().st_ino == before.st_ino


def test_a_visit_tells_of_messages_that_changed(store: Store) -> None:
    heard: list[str] = []
    thread = store.threads.create(JAN, BLANK)
    store.census.visit_all()
    store.census.on_messages = heard.append
    store.census.visit_all()
    assert heard == []
    store.messages.append(thread.id, [Message(MessageId("a"), thread.id, Role.USER, [])])
    store.census.visit(thread.id)
    store.census.visit(thread.id)
    assert heard == [thread.id]
    store.delete_thread(thread.id)
    store.census.visit_all()
    assert heard == [thread.id, thread.id]
