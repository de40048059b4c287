"""Uploads: there whole or not at all, whatever breaks them off."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from jan.errors import InvalidArgumentError, NotFoundError, StorageFullError
from jan.ids import FileId
from storage_service.store.atomic import DiskFailedError
from storage_service.store.files import OpenFile
from storage_service.store.paging import PageQuery
from storage_service.store.records import File
from storage_service.store.store import Store
from tests.storage_service.conftest import HandStopwatch, SteppingClock
from tests.storage_service.store.crashes import Crash, crash_points

ALL = PageQuery(limit=10_000, descending=False)
HOUR_MS = 3_600_000


def add(store: Store, data: bytes = b"Hi", *, lifetime_ms: int | None = None, purpose: str = "batch") -> File:
    upload = store.files.begin()
    try:
        for byte in data:
            upload.write(bytes([byte]))
        new = File(FileId.new(), "a.txt", purpose, size_bytes=0, created_ms=0)
        return store.files.finish(upload, new, lifetime_ms)
    finally:
        upload.discard()


def content(store: Store, file_id: FileId) -> bytes:
    opened = OpenFile()
    try:
        file = store.files.open(file_id, opened)
        return opened.read(0, file.size_bytes)
    finally:
        opened.close()


def listed(store: Store) -> list[str]:
    return [file.id for file in store.files.page(ALL).items]


def everything(janroot: Path) -> list[str]:
    return sorted(path.name for folder in ("files", ".server/staging") for path in (janroot / folder).iterdir())


def test_an_upload_is_nowhere_until_it_is_whole(store: Store, janroot: Path) -> None:
    upload = store.files.begin()
    upload.write(b"half")
    assert listed(store) == []
    assert list((janroot / "files").iterdir()) == []
    upload.discard()
    upload.discard()
    assert everything(janroot) == []


def test_the_same_id_again_answers_the_stored_file(store: Store, janroot: Path) -> None:
    made = add(store, b"one")
    upload = store.files.begin()
    upload.write(b"another")
    assert store.files.finish(upload, made) == made
    upload.discard()
    assert content(store, made.id) == b"one"
    assert everything(janroot) == [made.id, f"{made.id}.json"]


def test_the_order_is_that_of_creation_and_outlives_a_restart(
    store: Store, janroot: Path, clock: SteppingClock
) -> None:
    made = []
    for _ in range(20):
        clock.now_ms = 1_704_504_633_000
        made.append(add(store).id)
    assert listed(store) == made
    store.close()
    reopened = Store.open(janroot)
    assert listed(reopened) == made
    assert content(reopened, made[7]) == b"Hi"
    reopened.close()


def test_an_expired_file_is_gone_and_then_removed(
    store: Store, janroot: Path, clock: SteppingClock, stopwatch: HandStopwatch
) -> None:
    kept, made = add(store), add(store, lifetime_ms=HOUR_MS)
    assert made.expires_ms == made.created_ms + HOUR_MS
    clock.now_ms += HOUR_MS
    with pytest.raises(NotFoundError):
        store.files.get(made.id)
    assert listed(store) == [kept.id]
    store.tidy()
    clock.now_ms -= HOUR_MS
    assert listed(store) == [kept.id, made.id]
    stopwatch.seconds += 3600
    store.tidy()  # the clock was wrong for a while: nothing happened
    clock.now_ms += HOUR_MS
    store.tidy()
    stopwatch.seconds += 3600
    store.tidy()
    assert everything(janroot) == [kept.id, f"{kept.id}.json"]


def test_a_disk_that_fails_after_the_last_rename_leaves_the_file_with_its_description(
    store: Store, janroot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def failing(fd: int) -> None:
        published = any(path.suffix == "" for path in (janroot / "files").iterdir())
        if published:
            raise OSError(errno.EIO, "Input/output error")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(DiskFailedError):
        add(store)
    [name] = {path.stem for path in (janroot / "files").iterdir()}
    assert everything(janroot) == [name, f"{name}.json"]


def test_edits_by_hand_win(store: Store, janroot: Path) -> None:
    first, second, third = (add(store).id for _ in range(3))
    assert listed(store) == [first, second, third]
    told = janroot / "files" / f"{first}.json"
    told.write_text(json.dumps(json.loads(told.read_text()) | {"filename": "by hand.txt"}))
    (janroot / "files" / second).unlink()
    (janroot / "files" / f"{third}.json").write_text("{ broken")
    assert [file.filename for file in store.files.page(ALL).items] == ["by hand.txt"]
    (janroot / "files" / "stray.txt").write_text("stray")
    (janroot / "files" / "file-folder").mkdir()
    (janroot / "files" / "file-link").symlink_to(told)
    (janroot / "files" / "file-link.json").write_text("{}")
    assert listed(store) == [first]
    with pytest.raises(InvalidArgumentError):
        store.files.get(FileId("file-link"))


def test_a_removed_file_is_read_to_its_end(store: Store) -> None:
    made = add(store, b"abc")
    opened = OpenFile()
    store.files.open(made.id, opened)
    store.files.delete(made.id)
    assert opened.read(0, 3) == b"abc"
    opened.close()


@pytest.mark.parametrize("call", ["rename", "fsync", "replace"])
def test_a_disk_without_room_leaves_nothing(
    store: Store, janroot: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "fsync":
        call = "write"
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(StorageFullError):
            add(store)
    assert everything(janroot) == []


def test_a_crash_at_any_step_leaves_a_whole_file_or_none(store: Store, janroot: Path) -> None:
    store.close()
    for crash in crash_points():
        store = Store.open(janroot)
        before = listed(store)
        made = None
        try:
            with crash:
                made = add(store, b"abc").id
        except Crash:
            pass
        store.close()
        reopened = Store.open(janroot)
        found = listed(reopened)
        assert len(found) - len(before) in (0, 1)
        assert made is None or made in found
        assert all(content(reopened, FileId(file_id)) == b"abc" for file_id in found)
        assert everything(janroot) == sorted([*found, *(f"{file_id}.json" for file_id in found)])
        reopened.close()
    assert made is not None


def test_a_crash_while_removing_leaves_a_whole_file_or_none(store: Store, janroot: Path) -> None:
    store.close()
    for crash in crash_points():
        store = Store.open(janroot)
        made = add(store, b"abc").id
        try:
            with crash:
                store.files.delete(made)
        except Crash:
            pass
        store.close()
        reopened = Store.open(janroot)
        found = listed(reopened)
        assert everything(janroot) == sorted([*found, *(f"{file_id}.json" for file_id in found)])
        assert all(content(reopened, FileId(file_id)) == b"abc" for file_id in found)
        reopened.close()
