"""One storage service per janroot: a lock on it and on `.server/lock`, held for the life of the process."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from storage_service.store import atomic

_NAMELESS = "a process that gave no name"


class JanrootInUseError(Exception):
    """Another storage service holds this janroot; the message names it."""


class JanrootLostError(Exception):
    """The lock was taken away from under its holder, so another process may write to the janroot by now."""


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

    The locks are the kernel's (flock), so they are free the moment their holder dies, however it dies. The text in
    the file only says who to look for. The folder is locked as well, since somebody may remove the file; not every
    file system can do that. Network file systems whose flock is local to a host are not supported.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with contextlib.ExitStack() as held:
            root = held.enter_context(_opened(path.parent.parent, os.O_RDONLY | os.O_DIRECTORY))
            with contextlib.suppress(OSError):
                self._take(root)
            fd = held.enter_context(_opened(path, os.O_RDWR | os.O_CREAT))
            self._take(fd)
            os.ftruncate(fd, 0)
            with _nameless_when_full():
                os.pwrite(fd, f"pid {os.getpid()} on host {socket.gethostname()}\n".encode(), 0)
            self._status = os.fstat(fd)
            self._held = held.pop_all()

    def check(self) -> None:
        """See that what is locked is still what the next process would find. Raises JanrootLostError."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if os.path.samestat(os.stat(self._path, follow_symlinks=False), self._status):
                return
        raise JanrootLostError(f"The lock {self._path} was removed: another process may use the janroot by now.")

    def release(self) -> None:
        """Give the janroot up. The file stays: removing it would let two holders lock two files."""
        self._held.close()

    def _take(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            name = f"The janroot {self._path.parent.parent} is already in use by {_holder(self._path)}."
            raise JanrootInUseError(name) from None


@contextlib.contextmanager
def _opened(path: Path, how: int) -> Iterator[int]:
    fd = os.open(path, how | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        yield fd
    finally:
        os.close(fd)


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_bytes()[:256].decode(errors="replace").strip() or _NAMELESS
    return _NAMELESS
