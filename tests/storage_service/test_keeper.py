"""What somebody does to the files is seen within two seconds, whether anybody reads them or not."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from jan.ids import AssistantId, ThreadId
from storage_service import keeper
from storage_service import watch as watching_helper
from storage_service.keeper import Keeper
from storage_service.search import Search
from storage_service.server import exit_on_disk_failure
from storage_service.store import order
from storage_service.store.store import Store
from storage_service.watch import Watch
from tests.storage_service.conftest import BLANK, HandStopwatch

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
        monkeypatch.setattr(keeper, "_TOLD_REST_SECONDS", 3600.0)
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


def test_threads_that_are_put_in_place_anew_are_looked_at_and_watched(store: Store, watch: bool) -> None:
    first = store.threads.create(JAN, BLANK).id
    home, known = store.threads.home, store.threads.order.created
    away = home.with_name("threads.away")
    with kept(store, watch=watch):
        wait_for_the_watch(store)
        home.rename(away)
        (away / first / "thread.json").write_text('{"created": 1999999999000}')
        shutil.copytree(away, home)
        soon(lambda: known().get(first) == 1999999999000, 20)
        wait_for_the_watch(store)


def wait_for_the_watch(store: Store) -> None:
    """Touch a thread until that is noticed: the helper process starts in its own time."""
    probe = store.threads.home / "probe"
    probe.mkdir(exist_ok=True)
    numbers = itertools.count(1704504640000)
    seen: set[int] = set()

    def noticed() -> bool:
        (probe / "thread.json").write_text(f'{{"created": {next(numbers)}}}')
        time.sleep(0.05)
        seen.add(store.threads.order.created().get(ThreadId("probe"), 0))
        return len(seen) > 4  # More than the keeper's passes at its start and at the watch's.

    soon(noticed, 20)


def test_where_the_kernel_tells_everything_it_is_looked_at_less_often() -> None:
    assert keeper.rest_seconds(0.02, told=False) == 1.0
    assert keeper.rest_seconds(0.02, told=True) == 10.0
    assert keeper.rest_seconds(1.0, told=False) == keeper.rest_seconds(1.0, told=True) == 40.0


class TellingWatch:
    """A watch that tells what a test says, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.news: set[ThreadId] = set()

    def start(self) -> None:
        """There is nothing to start."""

    def stop(self) -> None:
        """Nor to end."""

    def began(self) -> bool:
        return False

    def tells_all(self) -> bool:
        return True

    def changed(self) -> set[ThreadId]:
        self.asked += 1
        news, self.news = self.news, set()
        return news


class Passes:
    """A keeper by the kernel's word, whose passes over all threads are counted and whose time is ours."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.watch = watch = TellingWatch()
        monkeypatch.setattr(keeper, "_TURN_SECONDS", 0.001)
        monkeypatch.setattr(keeper, "Watch", lambda _: watch)
        self.stopwatch = HandStopwatch()
        self.count = 0
        self._visit_all = store.census.visit_all
        monkeypatch.setattr(store.census, "visit_all", self._counted)
        self.keeper = Keeper(store, Search(store), exit_on_disk_failure, watch=True, clock=self.stopwatch)

    def _counted(self, wanted: Callable[[], bool]) -> None:
        self.count += 1
        self._visit_all(wanted)

    def after(self, seconds: float, changes: int = 0) -> int:
        """How many passes there were when the time has passed, the changes were told and some turns were taken."""
        self.watch.news = {ThreadId(f"jan_{number}") for number in range(changes)}
        self.stopwatch.seconds += seconds
        turns = self.watch.asked + 5
        soon(lambda: self.watch.asked >= turns, 20)
        return self.count


def test_after_a_burst_of_changes_the_kernel_is_not_believed_for_five_seconds(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = Passes(store, monkeypatch)
    passes.keeper.start()
    try:
        assert passes.after(0) == 1
        assert passes.after(2, changes=99) == 1
        assert passes.after(2) == 1
        assert passes.after(0, changes=100) == 2
        assert passes.after(1.5) == 3
        assert passes.after(1.5, changes=5) == 4
        assert passes.after(2.5) == 4, "told again: the next one is due ten seconds after the last"
        assert passes.after(7) == 4
        assert passes.after(1) == 5
    finally:
        passes.keeper.stop()


def test_a_watch_says_while_it_watches_that_it_tells_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching_helper, "_LOCAL", {watching_helper.file_system(tmp_path)})
    watching = Watch(tmp_path)
    assert not watching.tells_all()
    watching.start()
    soon(watching.tells_all, 20)
    watching.stop()
    assert not watching.tells_all()


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/", "ext4"), ("/srv/my data/janroot", "nfs4"), ("/srv/my data/disk/x", "xfs"), ("/srv2", "ext4")],
)
def test_a_folder_lies_on_the_innermost_mount(tmp_path: Path, folder: str, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
        "40 22 0:40 / /srv/my\\040data rw shared:1 - nfs4 host:/x rw\n"
        "41 40 8:1 / /srv/my\\040data/disk rw - xfs /dev/sdb rw\n"
    )
    assert watching_helper.file_system(Path(folder), mounts) == kind
    assert watching_helper.file_system(Path(folder), tmp_path / "none") == ""
