"""One storage service per janroot: a lock on `.server/lock`, held for the life of the process."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from storage_service.store import atomic


class JanrootInUseError(Exception):
    """Another storage service holds this janroot; the message names it."""


@contextlib.contextmanager
def _nameless_when_full() -> Iterator[None]:
    """What lies on a full disk can still be read: a start must not fail for want of these few bytes."""
    try:
        yield
    except OSError as error:
        if error.errno not in atomic.NO_ROOM:
            raise


class JanrootLock:
    """The right to write under one janroot.

    The lock is the kernel's (flock), so it is free the moment its holder dies, however it dies. The text in
    the file only says who to look for. Network file systems whose flock is local to a host are not supported.
    """

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        self._file = open(fd, "r+b", buffering=0)  # noqa: SIM115  held for the life of the process
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._file.read(256).decode(errors="replace").strip() or "a process that gave no name"
            self._file.close()
            raise JanrootInUseError(f"The janroot {path.parent.parent} is already in use by {holder}.") from None
        self._file.truncate()
        with _nameless_when_full():
            self._file.write(f"pid {os.getpid()} on host {socket.gethostname()}\n".encode())

    def release(self) -> None:
        """Give the janroot up. The file stays: removing it would let two holders lock two files."""
        self._file.close()
