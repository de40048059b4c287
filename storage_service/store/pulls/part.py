"""A file of a download while it grows. Durable up to each 16 MiB; what lies behind is dropped at the next start."""

import hashlib
import os
import stat
from pathlib import Path

from jan.errors import ConflictError
from storage_service.store import atomic, plain

SYNC_BYTES = 16 * 1024 * 1024
_READ_BYTES = 1024 * 1024


class Part:
    """A growing file. Its hash is kept up while it grows, and read from the file where that was not possible."""

    def __init__(self, path: Path) -> None:
        """Go on with what is at the path. What was not made durable is cut off: a power cut may have damaged it."""
        self._path = path
        self.size = _cut_to_durable(path)
        self._hash = hashlib.sha256()
        self._hashed = 0

    def write(self, offset: int, data: bytes) -> None:
        """Put bytes at an offset; harmless to repeat. Offset 0 begins anew.

        Raises ConflictError, code `pull_offset`: the file does not end there. StorageFullError: no room.
        """
        if offset == 0:
            self.drop()
        elif offset + len(data) <= self.size:
            return  # said a second time, because our answer was lost
        elif offset != self.size:
            raise ConflictError(f"The file ends at {self.size}, not at {offset}.", code="pull_offset")
        end = offset + len(data)
        atomic.write_at(self._path, offset, data, sync=end // SYNC_BYTES > offset // SYNC_BYTES)
        self.size = end
        if self._hashed == offset:
            self._hash.update(data)
            self._hashed = end

    def finish(self) -> str:
        """Make it durable; answers its SHA-256. Reads what was written before the last start."""
        atomic.sync_file(self._path)
        with open(plain.open_file(self._path, os.O_RDONLY), "rb") as file:
            file.seek(self._hashed)
            while data := file.read(_READ_BYTES):
                self._hash.update(data)
                self._hashed += len(data)
        return self._hash.hexdigest()

    def drop(self) -> None:
        """Leave nothing of it."""
        self._path.unlink(missing_ok=True)
        self.size = 0
        self._hash = hashlib.sha256()
        self._hashed = 0


def _cut_to_durable(path: Path) -> int:
    """How much of a file a start goes on with; the rest is cut off.

    What has another name is a file of the cache, linked just before a crash: not ours to cut.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return 0
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        path.unlink()
        return 0
    size = status.st_size // SYNC_BYTES * SYNC_BYTES
    os.truncate(path, size)
    return size


def sha256_of(path: Path) -> str:
    """The hash of a whole file. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
