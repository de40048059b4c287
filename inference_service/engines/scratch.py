"""What an engine's processes leave outside of themselves: temporary files, sockets, shared memory. Removed at its end.

vLLM (0.32) leaves its sockets, a file of torch's and its blocks in /dev/shm behind even when it is stopped in order.
Imports the standard library alone, since `guard.py` has nothing else.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

_SHM = Path("/dev/shm")  # noqa: S108  # where POSIX shared memory lies on Linux
# Python's own names: blocks of `multiprocessing.shared_memory` and semaphores of `multiprocessing`.
_SHARED = re.compile(r"^\S+ \S+ \S+ (\S+) (\d+) +/dev/shm/((?:psm_|sem\.mp-)[\w.-]+)$", re.MULTILINE)
_LOCK = "held"
_NAMES = "shared"
_PREFIX = "tmp-"
_MOST_SOCKET_BYTES = 107  # unix(7)
_SOCKET_NAME_BYTES = len(f"/{_PREFIX}01234567/01234567-0123-0123-0123-012345678901")  # vLLM's are UUIDs


class Scratch:
    """One engine's folder; it is held by whoever made it, and `sweep` removes those that nobody holds any more."""

    def __init__(self, folder: Path, lock: int, shared: Iterable[tuple[str, int, str]] = ()) -> None:
        """See `make`; `lock` is a locked file, `shared` what was noted of shared memory."""
        self._folder = folder
        self._lock = lock
        self._shared = frozenset(shared)

    @classmethod
    def make(cls, parent: Path) -> Scratch:
        """A new folder in `parent`; elsewhere when the paths of sockets in there would be too long."""
        fits = len(os.fsencode(parent)) + _SOCKET_NAME_BYTES <= _MOST_SOCKET_BYTES
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX if fits else "janroot-", dir=parent if fits else None))
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return cls(folder, lock)

    def environment(self) -> dict[str, str]:
        """What leads an engine's files there."""
        return {"TMPDIR": str(self._folder), "VLLM_RPC_BASE_PATH": str(self._folder)}

    def note(self, pids: Iterable[int]) -> None:
        """Remember the shared memory that these processes have mapped; on disk too, should we be killed."""
        found = self._shared.union(*map(_mapped, pids))
        if found == self._shared:
            return
        self._shared = found
        try:
            (self._folder / _NAMES).write_text("".join(f"{device} {inode} {name}\n" for device, inode, name in found))
        except OSError:
            return  # a full disk: then it is known to us alone

    def remove(self) -> None:
        """Remove the folder and the shared memory; of a name that others have taken since, nothing."""
        _unlink(self._shared)
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)


def sweep(parent: Path) -> None:
    """Remove what engines left in `parent` and in shared memory whose guard was killed before it could."""
    for lock_file in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        try:
            lock = os.open(lock_file, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # its guard has just removed it
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        Scratch(lock_file.parent, lock, _noted(lock_file.parent / _NAMES)).remove()


def _mapped(pid: int) -> set[tuple[str, int, str]]:
    """Device, inode and name of the shared memory that a process has mapped (proc(5))."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text(errors="replace")
    except OSError:
        return set()  # it has ended
    return {(device, int(inode), name) for device, inode, name in _SHARED.findall(maps)}


def _noted(names: Path) -> Iterable[tuple[str, int, str]]:
    try:
        lines = names.read_text().splitlines()
    except OSError:
        return
    for device, inode, name in map(str.split, lines):
        yield device, int(inode), name


def _unlink(shared: Iterable[tuple[str, int, str]]) -> None:
    for device, inode, name in shared:
        path = _SHM / name
        try:
            now = path.stat()
            if (f"{os.major(now.st_dev):02x}:{os.minor(now.st_dev):02x}", now.st_ino) == (device, inode):
                path.unlink()
        except OSError:
            continue  # the engine has removed it itself
