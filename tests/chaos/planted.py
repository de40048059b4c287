"""Mistakes to be found: each makes the store break a promise, in the small process only.

A harness that finds nothing may have looked at nothing. So every mistake here must be found, and by the check that
was made for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from storage_service.store import atomic
from tests.chaos import checks, oracle
from tests.chaos.history import Changes
from tests.chaos.teller import Teller


@dataclass(frozen=True, slots=True)
class Bug:
    """A mistake, the check that must find it, and the workload and calls in which a kill shows it.

    One without a workload is shown by a power cut.
    """

    plant: Callable[[], None]
    found_by: str
    workload: str = ""
    calls: tuple[str, ...] = ()


def _acknowledge_before_the_write() -> None:
    begin = Teller.begin

    def begin_and_end(teller: Teller, changes: Changes) -> None:
        begin(teller, changes)
        teller.acknowledge(changes)

    Teller.begin = begin_and_end  # type: ignore[method-assign, assignment]


def _leave_half_lines() -> None:
    atomic._mend = lambda fd, path, quarantine: os.fstat(fd).st_size


def _write_over_the_old_file() -> None:
    def replace(path: Path, chunks: Iterable[bytes], instead_of: object = None) -> None:
        del instead_of
        data = b"".join(chunks)
        with path.open("wb", buffering=0) as file:
            file.write(data)
            os.fsync(file.fileno())

    atomic.replace = replace


def _build_threads_in_place() -> None:
    publish = atomic.publish

    def in_place(staged: Path, place: Path) -> None:
        place.mkdir(exist_ok=True)
        for path in sorted(staged.iterdir()):
            path.rename(place / path.name)
        atomic.sync_dir(place)

    atomic.publish = lambda staged, place: (in_place if staged.is_dir() else publish)(staged, place)


def _no_fsync() -> None:
    os.fsync = lambda fd: None


def _no_fsync_of_folders() -> None:
    atomic.sync_dir = lambda path: None


_WRITES = ("write", "fsync")

BUGS: dict[str, Bug] = {
    "no-fsync": Bug(_no_fsync, checks.LOST),
    "no-dir-fsync": Bug(_no_fsync_of_folders, checks.LOST),
    "ack-before-write": Bug(_acknowledge_before_the_write, checks.LOST, "append-and-edit", ("write",)),
    "no-tail-repair": Bug(_leave_half_lines, oracle.UNREADABLE, "uploads-and-restarts", ("write",)),
    "write-in-place": Bug(_write_over_the_old_file, oracle.UNREADABLE, "append-and-edit", _WRITES),
    "thread-not-whole": Bug(_build_threads_in_place, oracle.HALF_THREAD, "append-and-edit", ("rename",)),
}
