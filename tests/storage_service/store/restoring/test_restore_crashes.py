"""A restore that is broken off at any step ends in the old janroot or the new one, whole."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from jan.errors import FailedPreconditionError
from jan.ids import TrashId
from storage_service.store.clock import wall_clock_ms
from storage_service.store.layout import Layout
from storage_service.store.restoring import swap
from storage_service.store.restoring.restores import Restores
from storage_service.store.store import Store
from storage_service.store.trash import Trash
from tests.fixtures.jan_files import put
from tests.storage_service.store.crashes import Crash, crash_points
from tests.storage_service.store.restoring.conftest import back_up, tree
from tests.storage_service.store.restoring.test_restores import (
    NOTE,
    finish,
    left_behind,
    restarted,
    restore,
    titles,
    trash_of,
    without_trash,
)


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
