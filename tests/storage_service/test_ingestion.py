"""The background work over a store: what a stopped service leaves is taken up again, and removals win."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jan.errors import StorageFullError
from jan.ids import FileBatchId, FileId, VectorStoreId
from storage_service import ingestion
from storage_service.ingestion import Ingestion
from storage_service.store.atomic import DiskFailedError
from storage_service.store.store import Store
from storage_service.store.vector_stores.records import FileStatus, NewFile, StoreFile
from tests.fixtures.storage import limited_files
from tests.storage_service.store.vector_stores.test_search import found, made, settled, uploaded


def never(error: DiskFailedError) -> None:
    raise error


@contextmanager
def working(store: Store) -> Iterator[Ingestion]:
    work = Ingestion(store, never)
    work.start()
    try:
        yield work
    finally:
        work.stop()


def statuses(store: Store, store_id: VectorStoreId) -> list[FileStatus]:
    return [file.status for file in store.vector_store_files.all(store_id)]


def wait_until_done(store: Store, store_id: VectorStoreId) -> None:
    done = threading.Event()
    while FileStatus.IN_PROGRESS in statuses(store, store_id):
        done.wait(0.01)


def test_files_left_in_progress_are_taken_up_at_the_next_start(store: Store) -> None:
    store_id = made(store)
    new = [NewFile(uploaded(store, data)) for data in (b"one fish", b"two fish", b"\0")]
    store.file_batches.create(store_id, FileBatchId.new(), new)
    assert statuses(store, store_id) == [FileStatus.IN_PROGRESS] * 3
    with working(store):
        wait_until_done(store, store_id)
    assert statuses(store, store_id) == [FileStatus.COMPLETED, FileStatus.COMPLETED, FileStatus.FAILED]
    assert len(found(store, store_id, "fish")) == 2


def test_files_added_while_it_works_are_processed(store: Store) -> None:
    with working(store):
        store_id = made(store)
        store.vector_store_files.add(store_id, [NewFile(uploaded(store, b"a fish"))])
        wait_until_done(store, store_id)
        assert len(found(store, store_id, "fish")) == 1


def test_a_cancelled_batch_is_not_processed(store: Store) -> None:
    store_id, batch_id = made(store), FileBatchId.new()
    store.file_batches.create(store_id, batch_id, [NewFile(uploaded(store))])
    assert store.file_batches.cancel(store_id, batch_id).is_cancelled
    with working(store):
        wait_until_done(store, store_id)
    assert statuses(store, store_id) == [FileStatus.CANCELLED]


def test_an_outcome_of_a_file_that_was_removed_is_dropped(store: Store) -> None:
    store_id = made(store)
    [file] = store.vector_store_files.add(store_id, [NewFile(uploaded(store))])
    store.vector_store_files.remove(store_id, file.id)
    store.vector_store_files.settle(store_id, file, file, "text")
    assert store.vector_store_files.all(store_id) == []
    assert not store.vector_store_files.text(store_id, file.id).exists()


def test_a_file_whose_upload_is_gone_fails(store: Store, janroot: Path) -> None:
    store_id = made(store)
    [file] = store.vector_store_files.add(store_id, [NewFile(uploaded(store))])
    (janroot / "files" / file.id).unlink()
    with working(store):
        wait_until_done(store, store_id)
    assert store.vector_store_files.get(store_id, file.id).error_code == "invalid_file"


def test_a_store_in_pieces_hides_no_other(store: Store, janroot: Path) -> None:
    broken, whole = made(store), made(store)
    store.vector_store_files.add(whole, [NewFile(uploaded(store, b"a fish"))])
    files = janroot / "vector_stores" / broken / "files"
    files.rmdir()
    files.write_text("no folder")
    (janroot / "vector_stores" / "link").symlink_to(janroot / "files")
    with working(store):
        wait_until_done(store, whole)
    assert len(found(store, whole, "fish")) == 1
    assert found(store, broken, "fish") == []


def test_collections_that_cannot_be_looked_at_do_not_stop_the_start(store: Store, janroot: Path) -> None:
    (janroot / "vector_stores").rmdir()
    (janroot / "vector_stores").write_text("no folder")
    with working(store):
        pass


def test_what_a_crash_left_is_swept(store: Store) -> None:
    store_id, gone = made(store), VectorStoreId.new()
    kept = settled(store, store_id, "kept text")
    left = store.vector_store_files.text(store_id, FileId.new())
    left.write_text("left over")
    index = store.layout.chunk_index(gone)
    index.write_bytes(b"")
    with working(store):
        assert not left.exists()
        assert not index.exists()
    assert found(store, store_id, "kept")[0].file.id == kept


def test_a_full_disk_adds_nothing(store: Store) -> None:
    store_id = made(store)
    new = [NewFile(uploaded(store)) for _ in range(2)]
    with limited_files(64), pytest.raises(StorageFullError):
        store.file_batches.create(store_id, FileBatchId.new(), new)
    assert store.vector_store_files.all(store_id) == []


def test_work_goes_on_after_a_full_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion, "_RETRY_SECONDS", 0.01)
    store_id = made(store)
    [file] = store.vector_store_files.add(store_id, [NewFile(uploaded(store, b"text"))])
    settle = store.vector_store_files.settle
    refused = threading.Event()

    def refuse_once(*outcome: VectorStoreId | StoreFile | str) -> None:
        if not refused.is_set():
            refused.set()
            raise StorageFullError("The server's disk is full.")
        settle(*outcome)  # type: ignore[arg-type]

    monkeypatch.setattr(store.vector_store_files, "settle", refuse_once)
    with working(store):
        wait_until_done(store, store_id)
    assert store.vector_store_files.get(store_id, file.id).status is FileStatus.COMPLETED
