"""Room for downloads: conversations always have some left, and a refused request costs nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import pytest

from jan.errors import InvalidArgumentError, StorageFullError
from jan.ids import PullId
from storage_service.store.pulls import room
from storage_service.store.pulls.pulls import Piece
from storage_service.store.pulls.record import Pull, PullFile, PullState
from storage_service.store.store import Store
from tests.storage_service.store.pulls.test_pulls import ME, WANTED, begun, reopened

MIB = 2**20
UNKNOWN = replace(WANTED, files=(PullFile("a.gguf", "http://host/a.gguf"),))
LARGE = replace(WANTED, files=(PullFile("a.gguf", "http://host/a.gguf", 8 * MIB),))


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how much the disk has besides what is kept for conversations."""

    def be(beyond_reserve: int) -> None:
        usage = Usage(2**40, 0, room.RESERVE_BYTES + beyond_reserve)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    return be


def given_up(store: Store, wanted: Pull, received: int) -> PullId:
    """A download that failed on its network, with what had come."""
    pull_id = begun(store.pulls, wanted)
    size = wanted.files[0].size_bytes
    store.pulls.write(pull_id, ME, Piece("a.gguf", 0, b"x" * received, size_bytes=size))
    store.pulls.fail(pull_id, ME, InvalidArgumentError("away", code="download_unreachable"), discard=False)
    return pull_id


@pytest.mark.parametrize("wanted", [UNKNOWN, LARGE])
def test_nothing_begins_without_room(store: Store, free: Callable[[int], None], wanted: Pull) -> None:
    free(0)
    with pytest.raises(StorageFullError):
        store.pulls.begin(wanted)
    assert store.pulls.all() == []
    assert list(store.layout.pulls.iterdir()) == []


def test_a_file_of_unknown_length_ends_where_the_reserve_begins(store: Store, free: Callable[[int], None]) -> None:
    free(2 * MIB)
    pull_id = begun(store.pulls, UNKNOWN)
    store.pulls.write(pull_id, ME, Piece("a.gguf", 0, bytes(2 * MIB)))
    free(0)
    with pytest.raises(StorageFullError):
        store.pulls.write(pull_id, ME, Piece("a.gguf", 2 * MIB, bytes(1)))
    assert store.pulls.get(pull_id).received == {"a.gguf": 2 * MIB}


def test_what_was_given_up_goes_on_only_if_its_rest_has_room(store: Store, free: Callable[[int], None]) -> None:
    pull_id = given_up(store, LARGE, 4 * MIB)
    free(4 * MIB - 1)
    with pytest.raises(StorageFullError):
        store.pulls.begin(LARGE)
    view = store.pulls.get(pull_id)
    assert (view.pull.state, view.received) == (PullState.ERROR, {"a.gguf": 4 * MIB})
    free(4 * MIB)
    assert store.pulls.begin(LARGE).pull.state is PullState.ACTIVE


def test_a_refused_request_costs_nothing_that_was_fetched(store: Store) -> None:
    pull_id = given_up(store, LARGE, 4 * MIB)
    other = replace(WANTED, files=(PullFile("b.gguf", "http://host/b.gguf", 2**60),))
    with pytest.raises(StorageFullError):
        store.pulls.begin(other)
    view = store.pulls.get(pull_id)
    assert (view.pull.state, view.received) == (PullState.ERROR, {"a.gguf": 4 * MIB})


def test_what_is_replaced_makes_room_for_what_replaces_it(store: Store, free: Callable[[int], None]) -> None:
    pull_id = given_up(store, LARGE, 4 * MIB)
    free(2 * MIB)
    other = replace(WANTED, files=(PullFile("b.gguf", "http://host/b.gguf", 6 * MIB),))
    assert store.pulls.begin(other).pull.state is PullState.ACTIVE
    assert store.pulls.get(pull_id).pull.state is PullState.CANCELLED
    assert not (store.layout.pull(pull_id) / "files").exists()


def test_what_a_url_asked_besides_is_forgotten_at_the_end(store: Store) -> None:
    wanted = replace(WANTED, files=(PullFile("a.gguf", "http://host/a.gguf?key=hunter2", 8),))
    pull_id = begun(store.pulls, wanted)
    record = store.layout.pull(pull_id) / "pull.json"
    assert "hunter2" in record.read_text()  # to go on with after a start
    store.pulls.cancel(pull_id)
    assert "hunter2" not in record.read_text()
    again = reopened(store)
    try:
        assert again.pulls.get(pull_id).pull.files[0].url == "http://host/a.gguf"
    finally:
        again.close()
