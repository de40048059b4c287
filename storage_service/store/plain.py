"""Opening plain files and nothing else: people and archives put links, folders and named pipes where files belong."""

import contextlib
import errno
import os
import stat
from pathlib import Path

from jan.errors import FailedPreconditionError

# Not to wait at a named pipe for somebody at its other end; plain files know no waiting.
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
# What an open says of a link, of a folder, and of a socket or a pipe.
_NOT_PLAIN = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO})


def open_file(path: Path, how: int) -> int:
    """Open a plain file; a pipe, say, takes no fsync, which would pass for a failed disk.

    `how` are flags of `os.open`. Raises FailedPreconditionError: something else has the name. OSError.
    """
    try:
        fd = os.open(path, how | _FLAGS, 0o644)
    except OSError as error:
        if error.errno in _NOT_PLAIN:
            raise _refusal(path) from None
        raise
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise _refusal(path)


def is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether a name in a folder leads to a folder; one that leads to itself, or to nowhere, does not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def check(path: Path) -> None:
    """See that a file can be written: it is a plain one, or not there. Raises FailedPreconditionError."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(path, follow_symlinks=False).st_mode):
            raise _refusal(path)


def _refusal(path: Path) -> FailedPreconditionError:
    name = f"{path.parent.name}/{path.name}"
    return FailedPreconditionError(f"{name} is a link, a folder or a pipe, not a plain file: move it away.")
