"""Looking into folders while others change them: what is in an open folder is opened relative to it.

So a thread that is moved into the trash meanwhile is still read whole, and a link put in some folder's place leads
nowhere: none is ever followed.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from storage_service.store.exports.zip_writer import Item

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_PIECE_BYTES = 256 * 1024
# What opening says of a file that is gone, of a link, and of a socket.
_NO_PLAIN_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})


class OpenedFile:
    """A plain file opened for reading, at the length that it had then. Close it."""

    def __init__(self, fd: int, status: os.stat_result) -> None:
        self.fd = fd
        self.status = status
        self.size_bytes = status.st_size

    def pieces(self) -> Iterator[bytes]:
        """The bytes up to that length; what was appended since is left out."""
        for offset in range(0, self.size_bytes, _PIECE_BYTES):
            data = os.pread(self.fd, min(_PIECE_BYTES, self.size_bytes - offset), offset)
            if not data:
                return
            yield data

    def item(self, name: str) -> Item:
        """The file as an entry of a zip."""
        return Item(name, self.status.st_mode, self.status.st_mtime_ns)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self.fd)


@dataclass(frozen=True, slots=True)
class Entry:
    """What lies in a folder, itself: of a link nothing but the link is known."""

    name: str
    status: os.stat_result

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a plain file."""
        return stat.S_ISREG(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.status.st_mode)


class OpenedFolder:
    """An open folder. Raises OSError where there is none, or one that we may not look into."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.status = os.fstat(fd)

    @classmethod
    @contextmanager
    def at(cls, path: Path) -> Iterator[Self]:
        """Open a folder by its path; its last part must not be a link."""
        folder = cls(os.open(path, _FLAGS | os.O_DIRECTORY))
        try:
            yield folder
        finally:
            os.close(folder.fd)

    @contextmanager
    def inner(self, name: str) -> Iterator[Self]:
        """Open a folder in this one."""
        folder = type(self)(os.open(name, _FLAGS | os.O_DIRECTORY, dir_fd=self.fd))
        try:
            yield folder
        finally:
            os.close(folder.fd)

    def entries(self) -> list[Entry]:
        """What lies in it now, by name."""
        found = []
        with os.scandir(self.fd) as entries:
            for entry in entries:
                try:
                    found.append(Entry(entry.name, entry.stat(follow_symlinks=False)))
                except FileNotFoundError:
                    continue  # gone since the folder was listed
        return sorted(found, key=lambda entry: entry.name)

    def file(self, name: str) -> OpenedFile | None:
        """Open a plain file in it; None for anything else, and for one that is gone.

        Raises PermissionError: it is closed to us. OSError: it is there, and an archive without it would be a lie.
        """
        try:
            fd = os.open(name, _FLAGS, dir_fd=self.fd)
        except OSError as error:
            if error.errno in _NO_PLAIN_FILE:
                return None
            raise
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            return None
        return OpenedFile(fd, status)

    def may_read(self, name: str) -> bool:
        """Whether a plain file in it may be read."""
        return os.access(name, os.R_OK, dir_fd=self.fd)

    def item(self, name: str) -> Item:
        """The folder as an entry of a zip."""
        return Item(name, self.status.st_mode, self.status.st_mtime_ns)
