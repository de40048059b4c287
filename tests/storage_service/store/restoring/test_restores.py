"""A backup comes back to the byte, and what it replaced can come back too."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from jan.errors import ConflictError, FailedPreconditionError, InvalidArgumentError, StorageFullError
from jan.ids import TrashId
from storage_service.store import archive as archive_reader
from storage_service.store.archive import Archive, Entry
from storage_service.store.bulk import Bulk
from storage_service.store.clock import wall_clock_ms
from storage_service.store.exports import janroot as janroot_export
from storage_service.store.layout import Layout
from storage_service.store.paging import PageQuery
from storage_service.store.records import TrashEntry
from storage_service.store.restoring import swap
from storage_service.store.restoring.backup import Contents
from storage_service.store.restoring.restores import Restore, Restores
from storage_service.store.store import Store
from storage_service.store.trash import Trash
from tests.fixtures.jan_files import put
from tests.fixtures.storage import limited_files
from tests.storage_service.store.crashes import Crash, crash_points
from tests.storage_service.store.restoring.conftest import back_up, deleted_in, fill, tree

NOTE = ".server/replaced.json"


class Restored(NamedTuple):
    contents: Contents
    trash_id: str


def finish(restoring: Restore, *, dry_run: bool = False) -> Restored:
    if dry_run:
        return Restored(restoring.check(), "")
    contents = restoring.unpack()
    return Restored(contents, restoring.promise(contents))


def restore(store: Store, data: bytes, *, dry_run: bool = False) -> Restored:
    restoring = store.restores.begin()
    try:
        for offset in range(0, len(data), 100_000):
            restoring.write(data[offset : offset + 100_000])
        return finish(restoring, dry_run=dry_run)
    finally:
        restoring.discard()


def restarted(store: Store) -> Store:
    store.close()
    return Store.open(store.layout.root)


def replaced(store: Store) -> list[TrashEntry]:
    page = store.trash.page(PageQuery(limit=100, descending=False))
    return [entry for entry in page.items if entry.kind == "janroot"]


Files = dict[str, tuple[object, ...]]


def trash_of(files: Files) -> Files:
    """What was deleted earlier."""
    return {name: found for name, found in files.items() if name.startswith(".server/trash")}


def without_trash(files: Files) -> Files:
    """All the rest."""
    return {name: found for name, found in files.items() if name not in trash_of(files)}


def titles(store: Store) -> set[str]:
    return {thread.title for thread in store.threads.page(PageQuery(limit=100)).items}


def left_behind(janroot: Path) -> list[str]:
    places = [*(janroot / ".server/staging").iterdir(), *(janroot / ".server").glob("restoring")]
    return [path.name for path in places]


@pytest.fixture
def newer(tmp_path: Path) -> Iterator[Store]:
    """A janroot in use, called new."""
    fill(tmp_path / "newer", "new")
    store = Store.open(tmp_path / "newer")
    yield store
    store.close()


@pytest.mark.parametrize("weights", [True, False])
def test_it_comes_back_to_the_byte_elsewhere(janroot: Path, tmp_path: Path, *, weights: bool) -> None:
    kept = tree(janroot)
    data = back_up(janroot, weights=weights)
    store = Store.open(tmp_path / "elsewhere")
    held = tree(store.layout.root)
    told = restore(store, data)
    assert (told.contents.threads, told.contents.weights) == (2, weights)
    assert told.contents.left_out == (() if weights else ("models/demo/demo.gguf",))
    assert tree(store.layout.root) == held
    store = restarted(store)
    if not weights:
        del kept["models/demo/demo.gguf"]
    assert tree(store.layout.root, without=told.trash_id) == kept
    assert titles(store) == {"old"}
    assert [entry.id for entry in replaced(store)] == [told.trash_id]
    assert left_behind(store.layout.root) == []
    store.close()


def test_what_it_replaced_lies_whole_in_the_trash_and_comes_back(janroot: Path, newer: Store) -> None:
    root = newer.layout.root
    before = tree(root)
    told = restore(newer, back_up(janroot, weights=True))
    store = restarted(newer)
    assert titles(store) == {"old"}
    aside = tree(root / ".server/trash" / told.trash_id)
    del aside[NOTE]
    assert aside == without_trash(before)
    assert store.restore(TrashId(told.trash_id)).kind == "janroot"
    with pytest.raises(ConflictError):
        store.restore(TrashId(told.trash_id))
    with pytest.raises(ConflictError):
        store.restores.begin()
    store = restarted(store)
    assert titles(store) == {"new"}
    [entry] = replaced(store)
    assert entry.id != told.trash_id
    assert tree(root, without=entry.id) == before | trash_of(tree(janroot))
    store.close()


def test_earlier_deletions_can_be_undone_after_several_restores(janroot: Path, newer: Store) -> None:
    root = newer.layout.root
    store = restarted_with(newer, back_up(janroot))
    first = {entry.id for entry in store.trash.page(PageQuery(limit=100)).items}
    assert first == {deleted_in("old"), deleted_in("new"), *(entry.id for entry in replaced(store))}
    store = restarted_with(store, back_up(root))
    store = restarted_with(store, back_up(root))
    assert len(replaced(store)) == 3
    assert first < {entry.id for entry in store.trash.page(PageQuery(limit=100)).items}
    assert not list((root / ".server/trash").glob("janroot-*/.server/trash"))
    store.restore(TrashId(deleted_in("new")))
    assert "new" in titles(store)
    [oldest] = {entry.id for entry in replaced(store)} & first
    assert (root / ".server/trash" / oldest / "models/demo/demo.gguf").read_bytes() == b"GGUFnew"
    store.restore(oldest)
    store = restarted(store)
    assert "old" not in titles(store)
    assert (root / "threads/new_1704504633/files/m.png").exists()
    store.close()


def test_nothing_leaves_the_trash_while_a_restore_waits(janroot: Path, newer: Store) -> None:
    store = restarted_with(newer, back_up(janroot))
    [entry] = replaced(store)
    store.restore(entry.id)
    for remove in (lambda: store.delete_trash(entry.id), store.empty_trash):
        with pytest.raises(ConflictError):
            remove()
    store = restarted(store)
    assert titles(store) == {"new"}
    assert store.empty_trash() == 3
    assert not any((store.layout.root / ".server/trash").iterdir())
    assert left_behind(store.layout.root) == []
    store.close()


def test_more_of_a_deletion_in_the_backup_than_here_is_kept(janroot: Path, newer: Store) -> None:
    root = newer.layout.root
    put(janroot / ".server/trash" / deleted_in("new") / "other_1/thread.json", {"title": "other"})
    store = restarted_with(newer, back_up(janroot))
    [entry] = replaced(store)
    assert (root / ".server/trash" / deleted_in("new") / "new_1").is_dir()
    assert (root / ".server/trash" / entry.id / ".server/trash" / deleted_in("new") / "other_1").is_dir()
    store.close()


def test_weights_that_the_backup_left_out_stay(janroot: Path, newer: Store, tmp_path: Path) -> None:
    outside = put(tmp_path / "outside/linked.gguf", b"G")
    (janroot / "models/demo/linked.gguf").symlink_to(outside)
    root = newer.layout.root
    (root / "models/demo/linked.gguf").symlink_to(outside)
    inode = (root / "models/demo/demo.gguf").stat().st_ino
    store = restarted_with(newer, back_up(janroot))
    assert (root / "models/demo/demo.gguf").stat().st_ino == inode
    assert (root / "models/demo/linked.gguf").readlink() == outside
    assert json.loads((root / "models/demo/model.json").read_text())["name"] == "old"
    store.close()


def test_so_do_those_that_the_backup_could_not_name(
    janroot: Path, newer: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = newer.layout.root
    for home in (janroot, root):
        for number in range(5):
            put(home / f"models/m{number}/model.json", {})
            put(home / f"models/m{number}/m.gguf", f"{home.name} {number}")
            (home / f"models/m{number}/linked").symlink_to(tmp_path)
    monkeypatch.setattr(janroot_export, "TOLD_LEFT_OUT", 2)
    store = restarted_with(newer, back_up(janroot))
    [entry] = replaced(store)
    for number in range(5):
        assert (root / f"models/m{number}/m.gguf").read_text() == f"newer {number}"
        assert (root / f"models/m{number}/linked").readlink() == tmp_path
    # Nothing but what the backup left out: a model that it does not know goes to the trash with its weights.
    assert not (root / "models/new").exists()
    assert {path.name for path in (root / "models").iterdir()} == {path.name for path in (janroot / "models").iterdir()}
    assert not list((root / ".server/trash" / entry.id).glob("models/m?/*.gguf.2"))
    store.close()


@pytest.mark.parametrize("weights", [True, False])
def test_nothing_is_carried_by_rules_when_all_is_named(janroot: Path, newer: Store, *, weights: bool) -> None:
    put(newer.layout.root / "models/demo/later.gguf", b"G")
    store = restarted_with(newer, back_up(janroot, weights=weights))
    assert not (newer.layout.root / "models/demo/later.gguf").exists()
    store.close()


def restarted_with(store: Store, data: bytes) -> Store:
    restore(store, data)
    return restarted(store)


@pytest.mark.parametrize("place", ["models/demo/demo.gguf", "models", "threads/x"])
def test_nothing_is_taken_through_a_link(janroot: Path, newer: Store, tmp_path: Path, place: str) -> None:
    put(tmp_path / "outside/demo/demo.gguf", b"secret")
    root = newer.layout.root
    (root / "models").rename(tmp_path / "aside")
    (root / "models").symlink_to(tmp_path / "outside")
    about = {"format": "janroot-backup", "version": 1, "left_out": [{"path": place, "reason": "weights"}]}
    store = restarted_with(newer, zipped({"janroot-backup.json": json.dumps(about), "models/demo/model.json": "{}"}))
    assert not (root / "models/demo/demo.gguf").exists()
    assert (root / "models").is_dir()
    store.close()


def test_a_dry_run_changes_nothing(janroot: Path, newer: Store) -> None:
    before = tree(newer.layout.root)
    told = restore(newer, back_up(janroot), dry_run=True)
    assert (told.contents.threads, told.trash_id) == (2, "")
    assert (tree(newer.layout.root), left_behind(newer.layout.root)) == (before, [])
    store = restarted(newer)
    assert tree(newer.layout.root) == before
    store.close()


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


def zipped(files: dict[str, str]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return made.getvalue()


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


def test_a_restore_that_broke_off_is_thrown_away(newer: Store) -> None:
    root = newer.layout.root
    before = tree(root)
    put(root / ".server/restoring/new/threads/x/thread.json", "{}")
    store = restarted(newer)
    assert (tree(root), left_behind(root)) == (before, [])
    store.close()


@pytest.mark.parametrize("damaged", ["", "{", "[]", '{"trash": "janroot-1-00000000"}', '{"phase": "sideways"}'])
def test_a_plan_that_cannot_be_read_is_not_taken_for_none(
    janroot: Path, newer: Store, monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    root = newer.layout.root
    restore(newer, back_up(janroot))
    newer.close()

    def die(_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(swap._Swap, "move_in", die)
        with pytest.raises(Crash):
            Store.open(root)
    plan = root / ".server/restoring/plan.json"
    readable = plan.read_bytes()
    plan.write_text(damaged)
    before = set(root.rglob("*"))
    with pytest.raises(FailedPreconditionError, match=str(plan)):
        Store.open(root)
    assert set(root.rglob("*")) == before
    plan.write_bytes(readable)
    store = Store.open(root)
    assert titles(store) == {"old"}
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["restore", "undo"])
def test_a_crash_at_any_step_of_the_swap_ends_in_the_new_one(
    janroot: Path, newer: Store, tmp_path: Path, way: str
) -> None:
    served, aside = tree(janroot), tree(newer.layout.root)
    deleted = trash_of(served) | trash_of(aside)
    told = restore(newer, back_up(janroot, weights=True))
    newer.close()
    if way == "undo":
        store = Store.open(newer.layout.root)
        store.restore(TrashId(told.trash_id))
        store.close()
        served, aside = aside, served
    for number, crash in enumerate(crash_points()):
        root = tmp_path / f"at{number}"
        shutil.copytree(newer.layout.root, root, symlinks=True)
        try:
            with crash:
                swap.finish(Layout(root))
        except Crash:
            pass
        swap.finish(Layout(root))
        Layout(root).clear_staging()
        [entry] = (root / ".server/trash").glob("janroot-*")
        assert tree(root, without=entry.name) == without_trash(served) | deleted
        found = tree(entry)
        del found[NOTE]
        assert found == without_trash(aside)
        assert left_behind(root) == []


@pytest.mark.slow
def test_a_crash_before_the_promise_changes_nothing(janroot: Path, newer: Store, tmp_path: Path) -> None:
    served = tree(newer.layout.root)
    kept = tree(janroot) | trash_of(served)
    data = back_up(janroot, weights=True)
    newer.close()
    for number, crash in enumerate(crash_points()):
        where = Layout(tmp_path / f"at{number}")
        shutil.copytree(newer.layout.root, where.root)
        restoring = Restores(where, Trash(where, wall_clock_ms, 30, time.monotonic)).begin()
        told = None
        try:
            with crash:
                restoring.write(data)
                told = finish(restoring)
        except Crash:
            pass
        swap.finish(where)
        where.clear_staging()
        found = tree(where.root, without="/janroot-")
        assert found == kept or (found == served and told is None)
        assert left_behind(where.root) == []


def test_another_program_that_writes_meanwhile_loses_nothing(janroot: Path, newer: Store) -> None:
    root = newer.layout.root
    told = restore(newer, back_up(janroot))
    newer.close()
    late = []
    for number, crash in enumerate(crash_points()):
        try:
            with crash:
                swap.finish(newer.layout)
        except Crash:
            if not (root / "threads").exists():
                late.append(put(root / f"threads/late_{number}/thread.json", "{}"))
    found = {path.parent.name for path in root.rglob("late_*/thread.json")}
    assert {path.parent.name for path in late} == found
    assert not list((root / "threads").glob("late_*")), told
    assert late
