"""One JSON object in a file of its own: thread.json, assistant.json, model.json."""

import errno
import os
import stat
from pathlib import Path

import orjson

from jan.errors import TooLargeError
from storage_service.store import atomic
from storage_service.store.records import JsonObject

# Jan's largest have a few kilobytes; what is longer is not one of ours and is not read.
MAX_FILE_BYTES = 16 * 1024 * 1024

# One file that is missing, a link or somebody else's must not hide its neighbours.
_NOT_OURS = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO})


def read(path: Path) -> JsonObject | None:
    """The object in a file; None when there is no file that we may read, a link, or not one JSON object in it."""
    data = read_bytes(path, MAX_FILE_BYTES)
    if data is None:
        return None
    try:
        value = orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def read_bytes(path: Path, most_bytes: int) -> bytes | None:
    """A whole file; None when there is none that we may read, a link, or one that is longer than it may be."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _NOT_OURS:
            return None
        raise
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > most_bytes:
            return None
        return os.read(fd, status.st_size)
    finally:
        os.close(fd)


def write(path: Path, value: JsonObject) -> None:
    """Replace the file, indented for people. Durable on return; see `atomic.replace`.

    Raises TooLargeError: `read` would not take it back.
    """
    data = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if len(data) > MAX_FILE_BYTES:
        raise TooLargeError(f"An object may hold at most {MAX_FILE_BYTES} bytes.")
    atomic.replace(path, [data])


def changed_ms(path: Path) -> int | None:
    """When a file or folder last changed, or None when it is not there."""
    try:
        return os.stat(path, follow_symlinks=False).st_mtime_ns // 1_000_000
    except OSError:
        return None
