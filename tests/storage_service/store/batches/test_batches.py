"""Batches on disk: across restarts and crashes, each request with one result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jan.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from jan.ids import BatchId, FileId
from storage_service.store.batches.batches import Batches
from storage_service.store.batches.records import MESSAGES, Batch, BatchStatus, Result, Tokens
from storage_service.store.files import OpenFile
from storage_service.store.paging import PageQuery
from storage_service.store.records import File
from storage_service.store.store import Store


def new(endpoint: str = "/v1/chat/completions", file_id: str = "file-a") -> Batch:
    return Batch(BatchId.new(), endpoint, file_id, "key:a", {"name": "a"}, lifetime_seconds=60)


def result(line: int, *, answered: bool = True, said: str = "") -> Result:
    return Result(line, answered, {"custom_id": str(line), "said": said}, Tokens(3, 1, 2))


def content(store: Store, file_id: str) -> bytes:
    opened = OpenFile()
    try:
        store.files.open(FileId(file_id), opened)
        return opened.read(0, opened.size_bytes)
    finally:
        opened.close()


def begun(store: Store, total: int = 3) -> BatchId:
    batch_id = store.batches.create(new()).id
    store.batches.move(batch_id, BatchStatus.IN_PROGRESS, total=total, model="m")
    return batch_id


def test_a_batch_is_there_after_a_restart(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    batch_id = begun(store)
    store.batches.append(batch_id, [result(2), result(1, answered=False)])
    before = store.batches.get(batch_id)
    store.close()
    store = Store.open(tmp_path)
    try:
        assert store.batches.get(batch_id) == before
        assert (before.counts.completed, before.counts.failed, before.counts.tokens) == (1, 1, Tokens(6, 2, 4))
        assert store.batches.done(batch_id) == [1, 2]
        assert [batch.id for batch in store.batches.active()] == [batch_id]
    finally:
        store.close()


def test_the_first_result_of_a_request_stays(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    try:
        batch_id = begun(store)
        store.batches.append(batch_id, [result(1, said="first"), result(1, said="second")])
        store.batches.append(batch_id, [result(1, said="third"), result(2, answered=False)])
        store.batches.move(batch_id, BatchStatus.FINALIZING)
        ended = store.batches.move(batch_id, BatchStatus.COMPLETED)
        assert content(store, ended.output_file_id) == b'{"custom_id":"1","said":"first"}\n'
        assert content(store, ended.error_file_id) == b'{"custom_id":"2","said":""}\n'
        assert store.batches.active() == []
        with pytest.raises(FailedPreconditionError):
            store.batches.append(batch_id, [result(3)])
        assert sorted(path.name for path in (tmp_path / "batches").iterdir()) == [f"{batch_id}.json"]
    finally:
        store.close()


def test_half_a_line_of_a_result_that_a_crash_left_is_no_result(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    batch_id = begun(store)
    store.batches.append(batch_id, [result(1)])
    store.close()
    with (tmp_path / "batches" / f"{batch_id}.results.jsonl").open("ab") as file:
        file.write(b'{"line":2,"answered":true,"resu')
    store = Store.open(tmp_path)
    try:
        assert store.batches.done(batch_id) == [1]
        store.batches.append(batch_id, [result(2)])
        assert store.batches.done(batch_id) == [1, 2]
        store.batches.move(batch_id, BatchStatus.FINALIZING)
        ended = store.batches.move(batch_id, BatchStatus.COMPLETED)
        assert len(content(store, ended.output_file_id).splitlines()) == 2
    finally:
        store.close()


def test_an_end_that_a_crash_cut_short_is_made_again_with_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path)
    batch_id = begun(store)
    store.batches.append(batch_id, [result(1)])
    store.batches.move(batch_id, BatchStatus.FINALIZING)
    with monkeypatch.context() as crashing:
        crashing.setattr(Batches, "_write", _crash)
        with pytest.raises(KeyboardInterrupt):
            store.batches.move(batch_id, BatchStatus.COMPLETED)
    [left] = store.files.page(_all()).items
    store.close()
    store = Store.open(tmp_path)
    try:
        ended = store.batches.move(batch_id, BatchStatus.COMPLETED)
        assert ended.output_file_id == left.id
        assert len(store.files.page(_all()).items) == 1
        assert ended.error_file_id == ""
    finally:
        store.close()


def test_a_batch_goes_only_where_it_can(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    try:
        batch_id = begun(store)
        with pytest.raises(FailedPreconditionError):
            store.batches.move(batch_id, BatchStatus.COMPLETED)
        cancelling = store.batches.move(batch_id, BatchStatus.CANCELLING)
        assert store.batches.move(batch_id, BatchStatus.CANCELLING) == cancelling
        ended = store.batches.move(batch_id, BatchStatus.CANCELLED)
        assert [status for status, _ in ended.steps] == ["in_progress", "cancelling", "cancelled"]
        assert ended.output_file_id == ""
        with pytest.raises(NotFoundError):
            store.batches.get(BatchId.new())
    finally:
        store.close()


def test_what_an_end_left_behind_goes_at_the_next_start(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    batch_id = store.batches.create(new()).id
    store.batches.move(batch_id, BatchStatus.FAILED, errors=[{"code": "empty_file"}])
    store.close()
    left = tmp_path / "batches" / f"{batch_id}.results.jsonl"
    left.write_bytes(b"{}\n")
    store = Store.open(tmp_path)
    try:
        assert store.batches.active() == []
        assert not left.exists()
        assert store.batches.get(batch_id).errors == ({"code": "empty_file"},)
    finally:
        store.close()


def test_all_results_of_messages_are_in_one_file_and_those_without_a_turn_are_counted(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    batch_id = store.batches.create(replace(new(MESSAGES), total=3)).id
    assert store.batches.get(batch_id).total == 3
    store.batches.move(batch_id, BatchStatus.IN_PROGRESS, total=3)
    store.batches.append(batch_id, [result(1), result(2, answered=False)])
    store.batches.move(batch_id, BatchStatus.CANCELLING)
    store.batches.append(batch_id, [replace(result(3, answered=False), skipped=True)])
    store.close()
    store = Store.open(tmp_path)
    try:
        ended = store.batches.move(batch_id, BatchStatus.CANCELLED)
        assert (ended.counts.completed, ended.counts.failed, ended.counts.skipped) == (1, 2, 1)
        assert store.batches.get(batch_id) == ended
        assert len(content(store, ended.output_file_id).splitlines()) == 3
        assert ended.error_file_id == ""
    finally:
        store.close()


def test_each_list_has_its_own_batches(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    try:
        chats, messages = store.batches.create(new()), store.batches.create(new(MESSAGES))
        assert [batch.id for batch in store.batches.page(_all()).items] == [chats.id]
        assert [batch.id for batch in store.batches.page(_all(), of_messages=True).items] == [messages.id]
        with pytest.raises(InvalidArgumentError):
            store.batches.page(PageQuery(after=chats.id), of_messages=True)
    finally:
        store.close()


def test_a_batch_is_deleted_with_its_files_also_when_that_was_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path)
    upload = store.files.begin()
    upload.write(b"{}")
    file_id = store.files.finish(upload, File(FileId.new(), "in", "batch", size_bytes=0, created_ms=0)).id
    batch_id = store.batches.create(new(MESSAGES, file_id)).id
    with pytest.raises(FailedPreconditionError, match="not ended"):
        store.batches.delete(batch_id)
    store.batches.move(batch_id, BatchStatus.IN_PROGRESS, total=1)
    store.batches.append(batch_id, [result(1)])
    store.batches.move(batch_id, BatchStatus.FINALIZING)
    store.batches.move(batch_id, BatchStatus.COMPLETED)
    with monkeypatch.context() as crashing:
        crashing.setattr(type(store.files), "delete", _crash)
        with pytest.raises(KeyboardInterrupt):
            store.batches.delete(batch_id)
    store.files.delete(file_id)
    store.close()
    store = Store.open(tmp_path)
    try:
        store.batches.delete(batch_id)
        with pytest.raises(NotFoundError):
            store.batches.delete(batch_id)
        assert store.files.page(_all()).items == ()
        assert [*(tmp_path / "batches").iterdir()] == []
    finally:
        store.close()


def _all() -> PageQuery:
    return PageQuery()


def _crash(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
