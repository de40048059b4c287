"""Mistakes to be found: each makes the store break a promise, in the small process only.

A harness that finds nothing may have looked at nothing. So every mistake here must be found, and by the check that
was made for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from jan.ids import Id, ThreadId
from storage_service.store import atomic, batch, clock
from storage_service.store.records import Message
from tests.chaos import checks, oracle
from tests.chaos.history import Changes
from tests.chaos.teller import Teller


@dataclass(frozen=True, slots=True)
class Bug:
    """A mistake, and the check that must find it."""

    plant: Callable[[], None]
    found_by: str


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


def _no_lock() -> None:
    fcntl.flock = lambda fd, operation: None


def _unchecked_ids() -> None:
    Id.parse = classmethod(lambda kind, text: kind(text))  # type: ignore[method-assign, assignment]


def _fsync_again() -> None:
    def sync(fd: int, path: Path) -> None:
        for _ in range(2):
            with contextlib.suppress(OSError):
                return os.fsync(fd)
        raise atomic.DiskFailedError(path)

    atomic._sync = sync


def _no_cutting_back() -> None:
    atomic._write_or_cut_back = lambda fd, data, start, path: atomic._write_all(fd, data, path)


def _times_of_the_clock() -> None:
    def stamped(message: Message, thread_id: ThreadId, now_ms: int, last_ms: int = 0) -> Message:
        del now_ms, last_ms
        return replace(message, thread_id=thread_id, created_ms=clock.wall_clock_ms())

    batch.stamped = stamped


def _one_look() -> None:
    clock.APART_SECONDS = 0.0


BUGS: dict[str, Bug] = {
    "no-fsync": Bug(_no_fsync, checks.LOST),
    "no-dir-fsync": Bug(_no_fsync_of_folders, checks.LOST),
    "ack-before-write": Bug(_acknowledge_before_the_write, checks.LOST),
    "no-tail-repair": Bug(_leave_half_lines, oracle.UNREADABLE),
    "write-in-place": Bug(_write_over_the_old_file, oracle.UNREADABLE),
    "thread-not-whole": Bug(_build_threads_in_place, oracle.HALF_THREAD),
    "no-lock": Bug(_no_lock, "a second storage service names the first and leaves"),
    "unchecked-ids": Bug(_unchecked_ids, oracle.OUTSIDE),
    "fsync-again": Bug(_fsync_again, "a failed fsync is never repeated"),
    "no-cutting-back": Bug(_no_cutting_back, "a full disk is told, and the next try succeeds"),
    "times-of-the-clock": Bug(_times_of_the_clock, oracle.ORDER),
    "trash-by-one-look": Bug(_one_look, checks.LOST),
}
