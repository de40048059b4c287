"""Telling whether a file is the one that was read: by inode, size and times, never by its bytes.

The time of change is among them, so a file that was put back with its old time of modification (`rsync --inplace`,
`touch -r`) is a changed one.
"""

import os
import stat

Signature = tuple[int, int, int, int]
"""Inode, size, and times of modification and change in nanoseconds."""

NOTHING: Signature = (0, 0, 0, 0)


def of(status: os.stat_result) -> Signature:
    """The signature of an open or looked-up file."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def of_fd(fd: int) -> Signature:
    """The signature of an open file; NOTHING for -1, none."""
    return of(os.fstat(fd)) if fd >= 0 else NOTHING


def of_path(path: str | os.PathLike[str]) -> Signature:
    """The signature of the regular file that a path names; NOTHING for anything else."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return NOTHING
    return of(status) if stat.S_ISREG(status.st_mode) else NOTHING


def digest(signature: Signature) -> int:
    """A signature in 64 bits, for keeping very many. Another Python may digest otherwise; files are then read again."""
    return hash(signature) if signature != NOTHING else 0
