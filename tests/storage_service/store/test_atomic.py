"""What a crash, a full disk and a failing disk leave behind."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest

from jan.errors import FailedPreconditionError, StorageFullError
from storage_service.store import atomic

FULL = 28
LINES = [b'{"id":"a","text":"one"}\n', '{"id":"b","text":"zwei \u00e4"}\n'.encode(), b'{"id":"c"}\n']


@pytest.fixture
def quarantine(tmp_path: Path) -> Path:
    folder = tmp_path / "quarantine"
    folder.mkdir()
    return folder


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "thread").mkdir()
    return tmp_path / "thread" / "messages.jsonl"


def test_appended_lines_follow_each_other(log: Path, quarantine: Path) -> None:
    starts = [atomic.append(log, line, quarantine) for line in LINES]
    assert log.read_bytes() == b"".join(LINES)
    assert starts == [0, len(LINES[0]), len(LINES[0] + LINES[1])]


def test_a_tail_torn_at_any_byte_is_moved_aside_and_the_next_line_is_whole(log: Path, quarantine: Path) -> None:
    whole = LINES[0] + LINES[1]
    for cut in range(len(LINES[0]), len(whole) + 1):
        log.write_bytes(whole[:cut])
        atomic.append(log, LINES[2], quarantine)
        kept = [json.loads(line)["id"] for line in log.read_bytes().splitlines()]
        torn = [path.read_bytes() for path in quarantine.iterdir()]
        lost_its_newline_only = cut == len(whole) - 1
        if cut in (len(LINES[0]), len(whole)) or lost_its_newline_only:
            assert torn == []
        else:
            assert torn == [whole[len(LINES[0]) : cut]]
        assert kept == (["a", "c"] if cut < len(whole) - 1 else ["a", "b", "c"])
        for path in quarantine.iterdir():
            path.unlink()


def test_a_torn_tail_longer_than_a_read_is_moved_whole(log: Path, quarantine: Path) -> None:
    tail = b"x" * 200_000
    log.write_bytes(LINES[0] + tail)
    atomic.append(log, LINES[2], quarantine)
    assert log.read_bytes() == LINES[0] + LINES[2]
    [kept] = quarantine.iterdir()
    assert kept.read_bytes() == tail
    assert kept.name.startswith("thread.messages.jsonl.")


def test_whole_records_on_a_torn_line_stay(log: Path, quarantine: Path) -> None:
    log.write_bytes(LINES[0] + b'{"id":"x"}{"id":"y"} {"id":"z"')
    atomic.append(log, LINES[2], quarantine)
    assert log.read_bytes() == LINES[0] + b'{"id":"x"}{"id":"y"}\n' + LINES[2]
    assert [path.read_bytes() for path in quarantine.iterdir()] == [b' {"id":"z"']


def test_a_replaced_file_is_whole_and_leaves_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "thread.json"
    atomic.replace(path, [b"old"])
    atomic.replace(path, [b"new", b"er"])
    assert path.read_bytes() == b"newer"
    assert [item.name for item in tmp_path.iterdir()] == ["thread.json"]


def test_a_temporary_of_a_crashed_writer_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".thread.json.tmp").write_bytes(b"half of a much longer file")
    atomic.replace(tmp_path / "thread.json", [b"new"])
    assert (tmp_path / "thread.json").read_bytes() == b"new"


def test_a_link_in_the_place_of_a_log_is_not_followed(log: Path, quarantine: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"")
    log.symlink_to(outside)
    with pytest.raises(FailedPreconditionError, match="is a link"):
        atomic.append(log, LINES[0], quarantine)
    assert outside.read_bytes() == b""


def in_a_small_world(limit_bytes: int, work: Callable[[], object]) -> int:
    """Run work in a child that may write no file longer than the limit: FULL for a StorageFullError, 0 when done."""

    def child() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
        try:
            work()
        except StorageFullError:
            os._exit(FULL)
        os._exit(0)

    process = get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


# A fork of a process with threads is deprecated; this child only writes a file and leaves.
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
class TestNoRoom:
    @pytest.mark.parametrize("room", [0, 1, 7, len(LINES[1]) - 1])
    def test_a_short_append_is_cut_back(self, log: Path, quarantine: Path, room: int) -> None:
        log.write_bytes(LINES[0])
        assert in_a_small_world(len(LINES[0]) + room, lambda: atomic.append(log, LINES[1], quarantine)) == FULL
        assert log.read_bytes() == LINES[0]
        atomic.append(log, LINES[1], quarantine)
        assert log.read_bytes() == LINES[0] + LINES[1]

    def test_a_failed_replace_leaves_the_old_file_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "thread.json"
        path.write_bytes(b"old")
        assert in_a_small_world(100, lambda: atomic.replace(path, [b"x" * 200])) == FULL
        assert path.read_bytes() == b"old"
        assert [item.name for item in tmp_path.iterdir()] == ["thread.json"]

    def test_a_torn_tail_stays_where_it_is_when_it_cannot_be_kept(self, log: Path, quarantine: Path) -> None:
        torn = LINES[0] + b"x" * 300
        log.write_bytes(torn)
        assert in_a_small_world(200, lambda: atomic.append(log, LINES[1], quarantine)) == FULL
        assert log.read_bytes() == torn
        assert list(quarantine.iterdir()) == []


class TestFailingDisk:
    @pytest.fixture
    def fsyncs(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Every fsync fails from now on, and is counted."""
        calls: list[int] = []

        def fail(fd: int) -> None:
            calls.append(fd)
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "fsync", fail)
        return calls

    def test_a_failed_fsync_of_an_append_is_told_and_not_repeated(
        self, log: Path, quarantine: Path, fsyncs: list[int]
    ) -> None:
        with pytest.raises(atomic.DiskFailedError):
            atomic.append(log, LINES[0], quarantine)
        assert len(fsyncs) == 1

    def test_a_failed_fsync_of_a_replace_is_told_and_not_repeated(self, tmp_path: Path, fsyncs: list[int]) -> None:
        (tmp_path / "thread.json").write_bytes(b"old")
        with pytest.raises(atomic.DiskFailedError):
            atomic.replace(tmp_path / "thread.json", [b"new"])
        assert len(fsyncs) == 1
        assert (tmp_path / "thread.json").read_bytes() == b"old"


class TestSyncs:
    """A power cut cannot be had here; what is synced, and in which order, can be watched."""

    @pytest.fixture
    def synced(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        names: list[str] = []
        really = os.fsync

        def watch(fd: int) -> None:
            names.append(Path(f"/proc/self/fd/{fd}").readlink().name)
            really(fd)

        monkeypatch.setattr(os, "fsync", watch)
        return names

    def test_a_new_log_is_synced_with_its_folder_and_later_lines_alone(
        self, log: Path, quarantine: Path, synced: list[str]
    ) -> None:
        atomic.append(log, LINES[0], quarantine)
        atomic.append(log, LINES[1], quarantine)
        assert synced == ["messages.jsonl", "thread", "messages.jsonl"]

    def test_a_replace_syncs_the_file_and_then_its_name(self, tmp_path: Path, synced: list[str]) -> None:
        atomic.replace(tmp_path / "thread.json", [b"{}"])
        assert synced == [".thread.json.tmp", tmp_path.name]

    def test_a_move_syncs_both_folders(self, tmp_path: Path, synced: list[str]) -> None:
        for name in ("from", "to"):
            (tmp_path / name).mkdir()
        (tmp_path / "from" / "x").mkdir()
        atomic.rename(tmp_path / "from" / "x", tmp_path / "to" / "x")
        assert synced == ["to", "from"]
