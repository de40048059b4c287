"""What is no backup of ours, or finds no room, changes nothing."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import pytest

from jan.errors import ConflictError, FailedPreconditionError, InvalidArgumentError, StorageFullError
from storage_service.store import archive as archive_reader
from storage_service.store.archive import Archive, Entry
from storage_service.store.bulk import Bulk
from storage_service.store.store import Store
from tests.fixtures.storage import limited_files
from tests.storage_service.store.restoring.conftest import back_up, tree
from tests.storage_service.store.restoring.test_restores import (
    finish,
    left_behind,
    restarted,
    restore,
    titles,
    zipped,
)


def test_a_damaged_backup_changes_nothing(janroot: Path, newer: Store) -> None:
    before = tree(newer.layout.root)
    data = back_up(janroot)
    place = data.index(b"\x89PNG\x89PNG") + 1000
    for broken in (data[:place] + b"?" + data[place + 1 :], data[:-10], data[: len(data) // 2], b""):
        for dry_run in (True, False):
            with pytest.raises(InvalidArgumentError):
                restore(newer, broken, dry_run=dry_run)
            assert (tree(newer.layout.root), left_behind(newer.layout.root)) == (before, [])


ABOUT = json.dumps({"format": "janroot-backup", "version": 1})


def with_comment(name: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("janroot-backup.json", ABOUT)
        info = zipfile.ZipInfo(name)
        info.comment = b"percent-encoded"
        archive.writestr(info, "x")
    return made.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"no zip",
        zipped({"threads/x/thread.json": "{}"}),
        zipped({"threads/x/thread.json": "{}", "janroot-backup.json": ABOUT}),
        zipped({"janroot-export.json": ABOUT, "threads/x/thread.json": "{}"}),
        zipped({"janroot-backup.json": "{"}),
        zipped({"janroot-backup.json": "[]"}),
        zipped({"janroot-backup.json": json.dumps({"format": "janroot-backup", "version": 2})}),
        *(
            zipped({"janroot-backup.json": ABOUT, name: "x"})
            for name in (
                "../x",
                "/x",
                "a/../../x",
                "threads/./x",
                "c:\\x",
                ".server",
                ".server/lock",
                ".server/index/search.sqlite",
                ".server/restoring/plan.json",
                ".server/staging/x",
                ".server/trash",
            )
        ),
        zipped({"janroot-backup.json": ABOUT, "a": "x", "a/b": "y"}),
        *map(
            with_comment, ("%2e%2e/x", "a/%2e%2e/b", "%2fx", "a%2f..%2f..%2fx", "a%00b", "%2eserver/lock", "a%2f%2fb")
        ),
    ],
)
def test_what_is_no_backup_of_ours_is_refused_and_leaves_nothing(newer: Store, data: bytes) -> None:
    before = tree(newer.layout.root)
    for dry_run in (True, False):
        with pytest.raises(InvalidArgumentError):
            restore(newer, data, dry_run=dry_run)
    assert (tree(newer.layout.root), left_behind(newer.layout.root)) == (before, [])


def test_two_names_for_one_place_are_refused(newer: Store) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("janroot-backup.json", ABOUT)
        archive.writestr("files/a", "x")
        info = zipfile.ZipInfo("files/%61")
        info.comment = b"percent-encoded"
        archive.writestr(info, "y")
    with pytest.raises(InvalidArgumentError):
        restore(newer, made.getvalue())


def test_a_full_disk_is_told_and_nothing_is_left(janroot: Path, newer: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(newer.layout.root)
    data = back_up(janroot)
    with limited_files(200_000), pytest.raises(StorageFullError):
        restore(newer, data)
    with pytest.raises(StorageFullError):
        newer.restores.check(1 << 60, dry_run=True)
    monkeypatch.setattr(archive_reader, "_RESERVE_BYTES", 1 << 60)
    with pytest.raises(StorageFullError):
        restore(newer, data)
    assert (tree(newer.layout.root), left_behind(newer.layout.root)) == (before, [])


def test_one_restore_at_a_time(newer: Store) -> None:
    first = newer.restores.begin()
    with pytest.raises(ConflictError):
        newer.restores.begin()
    first.discard()
    first.discard()
    newer.restores.begin().discard()
    with pytest.raises(ConflictError):
        [newer.restores.begin() for _ in range(2)]


def test_a_refused_restore_leaves_the_next_one_alone(
    janroot: Path, newer: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = newer.restores.begin()
    refused.write(b"PK")
    refused.discard()
    following = newer.restores.begin()
    following.write(back_up(janroot))
    refused.discard()
    really = Archive.extract

    def while_it_is_unpacked(archive: Archive, entry: Entry, path: Path, bulk: Bulk) -> None:
        refused.discard()
        really(archive, entry, path, bulk)

    monkeypatch.setattr(Archive, "extract", while_it_is_unpacked)
    finish(following)
    refused.discard()
    following.discard()
    with pytest.raises(ConflictError):
        newer.restores.begin()
    store = restarted(newer)
    assert titles(store) == {"old"}
    assert tree(janroot).keys() - {"models/demo/demo.gguf"} <= tree(store.layout.root).keys()
    store.close()


def test_a_folder_that_cannot_be_moved_is_told_before(
    janroot: Path, newer: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(newer.layout.root)
    really = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode, **more: "themes" not in str(path) and really(path, mode, **more)
    )
    data = back_up(janroot)
    with pytest.raises(FailedPreconditionError, match="themes"):
        restore(newer, data)
    assert (tree(newer.layout.root), left_behind(newer.layout.root)) == (before, [])
