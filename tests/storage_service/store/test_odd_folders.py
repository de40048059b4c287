"""What people do to folders by hand, against what the index, the trash and copies make of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jan.errors import FailedPreconditionError, NotFoundError
from jan.ids import AssistantId, MessageId, RunId, ThreadId
from storage_service.store.paging import PageQuery
from storage_service.store.records import Message, Role, Run, RunStatus, Thread
from storage_service.store.store import Store

ALL = PageQuery(limit=100, descending=False)
TEXT = {"type": "text", "text": {"value": "Hi", "annotations": []}}
LINE = {"id": "msg_a", "role": "user", "created": 1_704_500_000_000, "content": [TEXT]}


def put_thread(folder: Path, **fields: object) -> ThreadId:
    folder.mkdir(parents=True)
    (folder / "thread.json").write_text(json.dumps({"created": 1_704_500_000_000, **fields}))
    return ThreadId(folder.name)


def opened(janroot: Path) -> Store:
    store = Store.open(janroot)
    store.census.visit_all()
    return store


def message(thread_id: ThreadId) -> Message:
    content = [{"type": "text", "text": {"value": "new", "annotations": []}}]
    return Message(id=MessageId("msg_new"), thread_id=thread_id, role=Role.USER, content=content)


@pytest.fixture
def janroot(tmp_path: Path) -> Path:
    root = tmp_path / "janroot"
    (root / "threads").mkdir(parents=True)
    return root


def test_a_link_to_a_thread_that_was_sorted_away_hides_nobody(janroot: Path) -> None:
    put_thread(janroot / "threads/Work/jan_1700000001")
    (janroot / "threads/jan_1700000001").symlink_to("Work/jan_1700000001")
    neighbour = put_thread(janroot / "threads/jan_1700000002")
    store = opened(janroot)
    assert neighbour in [thread.id for thread in store.threads.page(ALL).items]
    store.close()


def test_a_copy_does_not_follow_a_link_out_of_the_janroot(janroot: Path, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/id_rsa").write_text("secret")
    thread_id = put_thread(janroot / "threads/jan_1700000001")
    (janroot / "threads/jan_1700000001/files").symlink_to(tmp_path / "secrets")
    store = opened(janroot)
    copy = store.clone_thread(thread_id)
    store.close()
    assert [*(janroot / "threads" / copy.id).rglob("id_rsa")] == []


def test_a_cleared_draft_stays_cleared(janroot: Path) -> None:
    thread_id = put_thread(janroot / "threads/jan_1700000001", messages=[LINE])
    store = opened(janroot)
    assert [each.id for each in store.messages.page(thread_id, ALL).items] == ["msg_a"]
    store.clear_thread(thread_id)
    assert store.messages.page(thread_id, ALL).items == ()
    store.append(thread_id, [message(thread_id)])
    store.clear_thread(thread_id)
    assert store.messages.page(thread_id, ALL).items == ()
    store.close()


def test_a_cleared_thread_in_a_folder_of_its_own_comes_back(janroot: Path) -> None:
    thread_id = put_thread(janroot / "threads/Work/jan_1700000001")
    (janroot / "threads/Work/jan_1700000001/messages.jsonl").write_text(json.dumps(LINE) + "\n")
    store = opened(janroot)
    store.clear_thread(thread_id)
    [entry] = store.trash.page(ALL).items
    store.restore(entry.id)
    assert [each.id for each in store.messages.page(thread_id, ALL).items] == ["msg_a"]
    store.close()


def test_a_thread_that_is_sorted_away_keeps_its_messages(janroot: Path) -> None:
    store = opened(janroot)
    thread = store.create_thread(AssistantId("jan"), Thread(id=ThreadId(""), created_ms=0, updated_ms=0))
    store.append(thread.id, [message(thread.id)])
    (janroot / "threads/Work").mkdir()
    (janroot / "threads" / thread.id).rename(janroot / "threads/Work" / thread.id)
    store.census.visit_all()
    assert [each.id for each in store.messages.page(thread.id, ALL).items] == ["msg_new"]
    store.close()


def test_a_folder_where_a_file_should_be_hides_nobody(janroot: Path) -> None:
    odd = put_thread(janroot / "threads/jan_1700000001")
    (janroot / "threads/jan_1700000001/messages.jsonl").mkdir()
    (janroot / "threads/jan_1700000001/runs.jsonl").mkdir()
    neighbour = put_thread(janroot / "threads/jan_1700000002")
    store = opened(janroot)
    assert {thread.id for thread in store.threads.page(ALL).items} == {odd, neighbour}
    assert store.messages.page(odd, ALL).items == ()
    store.close()


def link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "elsewhere")


@pytest.mark.parametrize("put", [os.mkfifo, Path.mkdir, link])
def test_what_is_no_file_is_refused_by_name_and_nothing_is_written(janroot: Path, put: Callable[[Path], None]) -> None:
    odd = put_thread(janroot / "threads/jan_1700000001")
    folder = janroot / "threads" / odd
    put(folder / "messages.jsonl")
    store = opened(janroot)
    with pytest.raises(FailedPreconditionError, match=f"{odd}/messages.jsonl is a link, a folder or a pipe"):
        store.append(odd, [message(odd)])
    (folder / "messages.jsonl").rename(folder / "runs.jsonl")
    run = Run(RunId("run_1"), odd, AssistantId("jan"), RunStatus.QUEUED, 1)
    with pytest.raises(FailedPreconditionError, match=f"{odd}/runs.jsonl is a link, a folder or a pipe"):
        store.create_run(run, [message(odd)])
    assert store.messages.page(odd, ALL).items == ()
    (folder / "thread.json").unlink()
    (folder / "messages.jsonl").write_text("")
    (folder / "runs.jsonl").rename(folder / "thread.json")
    with pytest.raises(FailedPreconditionError, match=r"thread\.json"):
        store.threads.change(odd, lambda thread: replace(thread, title="New"))
    assert not (janroot / "threads/elsewhere").exists()
    store.close()


def everything(janroot: Path) -> dict[str, bytes]:
    threads = janroot / "threads"
    return {str(path.relative_to(threads)): path.read_bytes() for path in threads.rglob("*") if path.is_file()}


@pytest.mark.parametrize("shadowed_alone", [False, True])
def test_a_deleted_thread_takes_along_what_it_stood_before_and_undo_brings_all_back(
    janroot: Path, shadowed_alone: bool
) -> None:
    thread_id = put_thread(janroot / "threads/Work/2024/jan_1700000001", title="copy")
    put_thread(janroot / "threads/Home/jan_1700000001", title="other copy")
    (janroot / "threads/jan_1700000001.json").write_text('{"messages": []}')
    if not shadowed_alone:
        put_thread(janroot / "threads/jan_1700000001", title="first")
    neighbour = put_thread(janroot / "threads/Work/jan_1700000002")
    store = opened(janroot)
    before, served = everything(janroot), store.threads.get(thread_id).title
    store.delete_thread(thread_id)
    store.census.visit_all()
    with pytest.raises(NotFoundError):
        store.threads.get(thread_id)
    assert store.threads.order.ids() == [neighbour]
    assert [*everything(janroot)] == [f"Work/{neighbour}/thread.json"]
    [entry] = store.trash.page(ALL).items
    assert (entry.count, [item.id for item in entry.items]) == (1, [thread_id])
    store.close()
    again = opened(janroot)
    assert again.threads.order.ids() == [neighbour]
    again.restore(entry.id)
    # What was served comes back to the top, where it is served again.
    assert sorted(everything(janroot).values()) == sorted(before.values())
    assert shadowed_alone or everything(janroot) == before
    assert again.threads.get(thread_id).title == served
    assert again.trash.page(ALL).items == ()
    again.close()


def test_what_was_shadowed_is_put_back_through_no_link(janroot: Path, tmp_path: Path) -> None:
    thread_id = put_thread(janroot / "threads/jan_1700000001")
    put_thread(janroot / "threads/Work/jan_1700000001")
    store = opened(janroot)
    store.delete_thread(thread_id)
    [entry] = store.trash.page(ALL).items
    (janroot / "threads/Work").rmdir()
    (janroot / "threads/Work").symlink_to(tmp_path)
    with pytest.raises(FailedPreconditionError, match="cannot be put back"):
        store.restore(entry.id)
    (janroot / "threads/Work").unlink()
    store.restore(entry.id)
    assert set(everything(janroot)) == {f"{thread_id}/thread.json", f"Work/{thread_id}/thread.json"}
    store.close()


def test_a_copy_that_was_just_put_into_a_folder_goes_along_too(janroot: Path) -> None:
    thread_id = put_thread(janroot / "threads/jan_1700000001")
    neighbour = put_thread(janroot / "threads/Work/jan_1700000002")
    store = opened(janroot)
    assert set(store.threads.order.ids()) == {thread_id, neighbour}
    put_thread(janroot / "threads/Work" / thread_id)
    put_thread(janroot / "threads/New" / thread_id)
    store.delete_thread(thread_id)
    assert [*everything(janroot)] == [f"Work/{neighbour}/thread.json"]
    store.close()
