"""Whether a download has room on the disk, so that conversations always have some."""

import shutil
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from jan.errors import StorageFullError
from storage_service.store.pulls.cache import BlobCache
from storage_service.store.pulls.record import Pull, PullFile

# What is left free for conversations, whatever is downloaded.
RESERVE_BYTES = 64 * 1024 * 1024


class Room:
    """The disk that downloads grow on. A file whose length nobody tells needs some room, too."""

    def __init__(self, folder: Path, cache: BlobCache) -> None:
        self._folder = folder
        self._cache = cache

    def check(self, wanted: Pull, received: Mapping[str, int], *, promised: int, released: int = 0) -> None:
        """See that what is still to come of a download fits.

        received: bytes of its files that are here. promised: what others will still take. released: what is removed
        for it. Raises StorageFullError.
        """
        missing = [file for file in wanted.files if not file.whole and not self._is_cached(file)]
        needed = still_to_come(missing, received)
        spare = max(0, _free(self._folder) + released - promised - RESERVE_BYTES)
        if needed > spare:
            message = f"The model needs {needed:,} bytes; the server's disk has {spare:,} to spare. Make room there."
            raise StorageFullError(message)
        if missing and spare == 0:
            raise StorageFullError("The server's disk has nothing to spare. Make room there.")

    def check_piece(self, length: int) -> None:
        """See that so many bytes more leave what is to be left. Raises StorageFullError."""
        if _free(self._folder) - length < RESERVE_BYTES:
            raise StorageFullError("The server's disk has become full, but for what conversations need.")

    def _is_cached(self, file: PullFile) -> bool:
        return self._cache.find(file.sha256, file.size_bytes) is not None


def still_to_come(files: Iterable[PullFile], received: Mapping[str, int]) -> int:
    """The bytes that files will still take, as far as their lengths are known."""
    return sum(max(0, (file.size_bytes or 0) - received.get(file.name, 0)) for file in files)


def taken_by(folder: Path) -> int:
    """The bytes that come free with a folder of files; those that have another name elsewhere stay."""
    found = [path.lstat() for path in folder.iterdir()] if folder.is_dir() else []
    return sum(status.st_size for status in found if stat.S_ISREG(status.st_mode) and status.st_nlink == 1)


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free
