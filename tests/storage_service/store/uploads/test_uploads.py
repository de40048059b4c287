"""Uploads in parts on disk: their hour, restarts, and a completion that a crash cut short."""

from __future__ import annotations

from pathlib import Path

import pytest

from jan.errors import FailedPreconditionError, NotFoundError
from jan.ids import UploadId, UploadPartId
from storage_service.store.clock import APART_SECONDS
from storage_service.store.paging import PageQuery
from storage_service.store.store import Store
from storage_service.store.uploads.records import Upload, UploadStatus
from storage_service.store.uploads.uploads import LIFETIME_MS, Uploads


def begun(store: Store, text: bytes) -> tuple[UploadId, UploadPartId]:
    """An upload with all of its bytes in one part."""
    upload = store.uploads.create(Upload(UploadId.new(), "a.txt", "batch", len(text), "text/plain"))
    draft = store.uploads.begin_part()
    draft.write(text)
    part = store.uploads.add_part(upload.id, UploadPartId.new(), draft)
    return upload.id, part.id


def test_parts_are_there_after_a_restart_and_a_completion_cut_short_makes_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path)
    upload_id, part_id = begun(store, b"abc")
    with monkeypatch.context() as crashing:
        crashing.setattr(Uploads, "_end", _crash)
        with pytest.raises(KeyboardInterrupt):
            store.uploads.complete(upload_id, [part_id], "")
    store.close()
    store = Store.open(tmp_path)
    try:
        _, file = store.uploads.complete(upload_id, [part_id], "")
        assert store.files.page(PageQuery()).items == (file,)
        assert [path.name for path in store.layout.upload(upload_id).iterdir()] == ["upload.json"]
    finally:
        store.close()


def test_an_hour_later_it_takes_nothing_and_then_it_is_gone(tmp_path: Path) -> None:
    now_ms, seconds = [1_000_000_000_000], [0.0]
    store = Store.open(tmp_path, clock=lambda: now_ms[0], stopwatch=lambda: seconds[0])
    try:
        upload_id, part_id = begun(store, b"abc")
        now_ms[0] += LIFETIME_MS
        assert store.uploads.get(upload_id).status is UploadStatus.EXPIRED
        with pytest.raises(FailedPreconditionError):
            store.uploads.complete(upload_id, [part_id], "")
        store.tidy()
        assert store.layout.upload(upload_id).exists()
        seconds[0] += APART_SECONDS
        store.tidy()
        with pytest.raises(NotFoundError):
            store.uploads.get(upload_id)
        assert not store.layout.upload(upload_id).exists()
    finally:
        store.close()


def _crash(*_: object) -> None:
    raise KeyboardInterrupt
