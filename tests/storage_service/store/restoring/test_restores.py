"""A backup comes back to the byte, and what it replaced can come back too."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from jan.errors import ConflictError
from jan.ids import TrashId
from storage_service.store.exports import janroot as janroot_export
from storage_service.store.paging import PageQuery
from storage_service.store.records import TrashEntry
from storage_service.store.restoring.backup import Contents
from storage_service.store.restoring.restores import Restore
from storage_service.store.store import Store
from tests.fixtures.jan_files import put
from tests.storage_service.store.restoring.conftest import back_up, deleted_in, tree

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


def zipped(files: dict[str, str]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return made.getvalue()


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
