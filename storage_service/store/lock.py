"""One storage service per janroot: a lock on `.server/lock`, held for the life of the process."""

import fcntl
import os
import socket
from pathlib import Path


class JanrootInUseError(Exception):
    """Another storage service holds this janroot; the message names it."""


class JanrootLock:
    """The right to write under one janroot.

    The lock is the kernel's (flock), so it is free the moment its holder dies, however it dies. The text in
    the file only says who to look for. Network file systems whose flock is local to a host are not supported.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._fd, 256, 0).decode(errors="replace").strip() or "a process that gave no name"
            os.close(self._fd)
            janroot = path.parent.parent
            raise JanrootInUseError(f"The janroot {janroot} is already in use by {holder}.") from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"pid {os.getpid()} on host {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        """Give the janroot up. The file stays: removing it would let two holders lock two files."""
        os.close(self._fd)
