"""One holder per janroot, named to whoever comes second."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from storage_service.store.lock import JanrootInUseError, JanrootLock, JanrootLostError
from storage_service.store.store import Store
from tests.fixtures.storage import limited_files


def test_the_second_is_told_who_the_first_is(tmp_path: Path) -> None:
    (tmp_path / ".server").mkdir()
    path = tmp_path / ".server" / "lock"
    first = JanrootLock(path)
    named = f"{tmp_path} is already in use by pid {os.getpid()} on host {socket.gethostname()}"
    with pytest.raises(JanrootInUseError, match=named):
        JanrootLock(path)
    first.release()
    JanrootLock(path).release()


def test_a_store_that_cannot_be_opened_gives_the_lock_back(tmp_path: Path) -> None:
    (tmp_path / "threads").write_text("a file where a folder belongs")
    with pytest.raises(FileExistsError):
        Store.open(tmp_path)
    (tmp_path / "threads").unlink()
    Store.open(tmp_path).close()


def test_a_full_disk_does_not_keep_a_janroot_closed(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    with limited_files(0):
        Store.open(tmp_path).close()


def test_who_loses_the_lock_file_is_told_and_no_second_one_starts_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / ".server" / "lock"
    store = Store.open(tmp_path)
    store.stand_guard()
    shutil.rmtree(path.parent)
    with pytest.raises(JanrootInUseError, match="already in use"):
        Store.open(tmp_path)
    with pytest.raises(JanrootLostError, match=str(path)):
        store.stand_guard()
    store.layout.make_missing()
    path.touch()
    with pytest.raises(JanrootLostError, match=str(path)):
        store.stand_guard()
    store.close()
    Store.open(tmp_path).close()
