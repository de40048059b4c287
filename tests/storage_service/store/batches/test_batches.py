"""Batches on disk: across restarts and crashes, each request with one result."""

from __future__ import annotations

from pathlib import Path

import pytest

from jan.errors import FailedPreconditionError, NotFoundError
from jan.ids import BatchId, FileId
from storage_service.store.batches.batches import Batches
from storage_service.store.batches.records import Batch, BatchStatus, Result, Tokens
from storage_service.store.files import OpenFile
from storage_service.store.paging import PageQuery
from storage_service.store.store import Store


def new() -> Batch:
    return Batch(BatchId.new(), "/v1/chat/completions", "file-a", "key:a", {"name": "a"}, lifetime_seconds=60)


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


def _all() -> PageQuery:
    return PageQuery()


def _crash(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
