"""One JSON object in a file of its own: thread.json, assistant.json, model.json."""

import errno
import os
from pathlib import Path

import orjson

from storage_service.store import atomic
from storage_service.store.records import JsonObject

# Jan's largest have a few kilobytes; what is longer is not one of ours and is not read.
MAX_FILE_BYTES = 16 * 1024 * 1024


def read(path: Path) -> JsonObject | None:
    """The object in a file; None when it is missing, a link, too large, or not one JSON object."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    with open(fd, "rb") as file:
        if os.fstat(fd).st_size > MAX_FILE_BYTES:
            return None
        try:
            value = orjson.loads(file.read().removeprefix(b"\xef\xbb\xbf"))
        except (orjson.JSONDecodeError, IsADirectoryError):
            return None
    return value if isinstance(value, dict) else None


def write(path: Path, value: JsonObject) -> None:
    """Replace the file, indented for people. Durable on return; see `atomic.replace`."""
    atomic.replace(path, [orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)])


def changed_ms(path: Path) -> int | None:
    """When a file or folder last changed, or None when it is not there."""
    try:
        return os.stat(path, follow_symlinks=False).st_mtime_ns // 1_000_000
    except OSError:
        return None
