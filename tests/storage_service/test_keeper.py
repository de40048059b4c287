"""What somebody does to the files is seen within two seconds, whether anybody reads them or not."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from jan.ids import AssistantId, ThreadId
from storage_service import keeper
from storage_service.keeper import Keeper
from storage_service.search import Search
from storage_service.server import exit_on_disk_failure
from storage_service.store import order
from storage_service.store.store import Store
from tests.storage_service.conftest import BLANK

pytestmark = pytest.mark.slow

JAN = AssistantId("jan")


@contextmanager
def kept(store: Store, *, watch: bool) -> Iterator[None]:
    kept = Keeper(store, Search(store), exit_on_disk_failure, watch=watch)
    kept.start()
    try:
        yield
    finally:
        kept.stop()


def soon(condition: Callable[[], bool], seconds: float = 2.0) -> None:
    """Wait until it holds, two seconds at most."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(params=["by looking", "by the kernel's word"])
def watch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Nobody who reads a list looks for changes; nor does the keeper if it is to be told."""
    monkeypatch.setattr(order, "_GLANCE_FOLDERS", -1)
    monkeypatch.setattr(order, "_GLANCE_ITEMS", 0)
    told: bool = request.param == "by the kernel's word"
    if told:
        monkeypatch.setattr(keeper, "_REST_SECONDS", 3600.0)
    return told


def test_a_change_that_nobody_reads_is_seen(store: Store, watch: bool) -> None:
    first, second = [store.threads.create(JAN, replace(BLANK, title=title)).id for title in ("a", "b")]
    home, known = store.threads.home, store.threads.order.created
    with kept(store, watch=watch):
        wait_for_the_watch(store)
        (home / first / "thread.json").write_text('{"created": 1999999999000}')
        soon(lambda: known()[first] == 1999999999000)
        shutil.copytree(home / second, home / "copied")
        soon(lambda: "copied" in known())
        (home / "copied" / "new.json").write_text('{"created": 1888888888000}')
        (home / "copied" / "new.json").rename(home / "copied" / "thread.json")
        soon(lambda: known()[ThreadId("copied")] == 1888888888000)
        shutil.rmtree(home / second)
        soon(lambda: second not in known())


def wait_for_the_watch(store: Store) -> None:
    """Touch a thread until that is noticed: the helper process starts in its own time."""
    probe = store.threads.home / "probe"
    probe.mkdir()
    numbers = itertools.count(1704504640000)
    seen: set[int] = set()

    def noticed() -> bool:
        (probe / "thread.json").write_text(f'{{"created": {next(numbers)}}}')
        time.sleep(0.05)
        seen.add(store.threads.order.created().get(ThreadId("probe"), 0))
        return len(seen) > 4  # More than the keeper's passes at its start and at the watch's.

    soon(noticed, 20)
