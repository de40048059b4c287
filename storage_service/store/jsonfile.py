"""One JSON object in a file of its own: thread.json, assistant.json, model.json."""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from jan.errors import TooLargeError
from storage_service.store import atomic, jsontext, signature
from storage_service.store.records import JsonObject
from storage_service.store.revisions import revision_of
from storage_service.store.signature import Signature

# Jan's largest have a few kilobytes; what is longer is not one of ours and is not read.
MAX_FILE_BYTES = 16 * 1024 * 1024

# One file that is missing, a link or somebody else's must not hide its neighbours.
_NOT_OURS = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO})


@dataclass(frozen=True, slots=True)
class Found:
    """What a file holds, which file it was, and the revision of what it holds."""

    value: JsonObject | None
    signature: Signature
    revision: str


def read(path: Path) -> JsonObject | None:
    """The object in a file; None when there is no file that we may read, a link, or not one JSON object in it."""
    return look(path).value


def look(path: Path) -> Found:
    """The same with what tells this state of the file from others."""
    data, seen = _read(path, MAX_FILE_BYTES)
    return Found(None if data is None else jsontext.load_object(data), seen, revision_of(data or b""))


def read_bytes(path: Path, most_bytes: int) -> bytes | None:
    """A whole file; None when there is none that we may read, a link, or one that is longer than it may be."""
    return _read(path, most_bytes)[0]


def _read(path: Path, most_bytes: int) -> tuple[bytes | None, Signature]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _NOT_OURS:
            return None, signature.NOTHING
        raise
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return None, signature.NOTHING
        data = os.read(fd, status.st_size) if status.st_size <= most_bytes else None
        return data, signature.of(status)
    finally:
        os.close(fd)


def write(path: Path, value: JsonObject, instead_of: Signature | None = None) -> str:
    """Replace the file, indented for people; answers its revision. Durable on return; see `atomic.replace`.

    Raises TooLargeError, InvalidArgumentError: `read` would not take it back.
    """
    data = jsontext.dumps(value, indented=True)
    if len(data) > MAX_FILE_BYTES:
        raise TooLargeError(f"An object may hold at most {MAX_FILE_BYTES} bytes.")
    atomic.replace(path, [data], instead_of)
    return revision_of(data)


def changed_ms(path: Path) -> int | None:
    """When a file or folder last changed, or None when it is not there."""
    try:
        return os.stat(path, follow_symlinks=False).st_mtime_ns // 1_000_000
    except OSError:
        return None
