"""Stored chat completions: one file each, for whoever asked, across restarts and changes by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jan.errors import InvalidArgumentError, NotFoundError
from jan.ids import CompletionId
from storage_service.store.completions import Wanted
from storage_service.store.paging import PageQuery
from storage_service.store.records import Completion
from storage_service.store.report import completions as report
from storage_service.store.report.findings import Kind
from storage_service.store.store import Store

ALL = PageQuery(limit=100, descending=False)


def completion(owner: str = "", created_ms: int = 1_700_000_000_000) -> Completion:
    return Completion(
        id=CompletionId.new(),
        owner=owner,
        created_ms=created_ms,
        model="m",
        completion={"id": "x", "choices": []},
        messages=({"id": "x-0", "role": "user", "content": "Hi"},),
        metadata={"a": "1"},
    )


@pytest.fixture
def janroot(tmp_path: Path) -> Path:
    return tmp_path / "janroot"


def listed(store: Store, owner: str = "") -> list[str]:
    return [one.id for one in store.completions.page(ALL, Wanted(owner)).items]


def test_they_are_there_after_a_restart_in_their_order(janroot: Path) -> None:
    store = Store.open(janroot)
    made = [completion(created_ms=ms) for ms in (1_700_000_002_000, 1_700_000_001_000, 1_700_000_001_000)]
    for one in made:
        store.completions.create(one)
    store.close()
    store = Store.open(janroot)
    try:
        assert listed(store) == [made[1].id, made[2].id, made[0].id]
        found = store.completions.get(made[0].id, "")
        assert (found.messages, found.metadata, found.completion) == (made[0].messages, {"a": "1"}, made[0].completion)
    finally:
        store.close()


def test_keeping_one_again_changes_nothing(janroot: Path) -> None:
    store = Store.open(janroot)
    try:
        one = completion()
        store.completions.create(one)
        store.completions.update(one.id, "", {"b": "2"})
        store.completions.create(one)
        assert store.completions.get(one.id, "").metadata == {"b": "2"}
    finally:
        store.close()


def test_one_s_own_and_everybody_s_are_seen(janroot: Path) -> None:
    store = Store.open(janroot)
    try:
        own, common, other = completion("ann"), completion(), completion("bob")
        for one in (own, common, other):
            store.completions.create(one)
        assert set(listed(store, "ann")) == {own.id, common.id}
        with pytest.raises(NotFoundError):
            store.completions.delete(other.id, "ann")
        assert set(listed(store, "bob")) == {common.id, other.id}
    finally:
        store.close()


def test_changes_by_hand_count_and_unknown_keys_stay(janroot: Path) -> None:
    store = Store.open(janroot)
    try:
        one = completion()
        store.completions.create(one)
        assert listed(store) == [one.id]
        path = janroot / "completions" / f"{one.id}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "note": "mine", "metadata": {"by": "hand"}}))
        page = store.completions.page(ALL, Wanted(metadata={"by": "hand"}))
        assert [found.id for found in page.items] == [one.id]
        store.completions.update(one.id, "", {})
        assert json.loads(path.read_text())["note"] == "mine"
        path.unlink()
        assert listed(store) == []
    finally:
        store.close()


def test_links_are_not_followed_and_strays_are_reported(janroot: Path, tmp_path: Path) -> None:
    store = Store.open(janroot)
    try:
        assert list(report.inspect(store.layout)) == []
        store.completions.create(completion())
        (tmp_path / "outside.json").write_text("{}")
        home = janroot / "completions"
        link = CompletionId.new()
        (home / f"{link}.json").symlink_to(tmp_path / "outside.json")
        (home / "notes.txt").write_text("x")
        (home / "chatcmpl-broken.json").write_text("{")
        assert len(listed(store)) == 1
        with pytest.raises(NotFoundError):
            store.completions.get(link, "")
        assert {found.kind for found in report.inspect(store.layout)} == {Kind.LINK, Kind.STRAY_FILE, Kind.UNREADABLE}
    finally:
        store.close()


def test_a_folder_that_is_a_link_is_refused(janroot: Path, tmp_path: Path) -> None:
    store = Store.open(janroot)
    try:
        (tmp_path / "elsewhere").mkdir()
        (janroot / "completions").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(InvalidArgumentError, match="link"):
            store.completions.create(completion())
        assert list((tmp_path / "elsewhere").iterdir()) == []
    finally:
        store.close()
