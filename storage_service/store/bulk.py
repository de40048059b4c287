"""Many new files that become durable together: one flush of the file system instead of two for each file.

Measured for this product: 38,000 small files a second against 860. What is written so must not be seen before it is
synced: build it in `staging/`, sync, then publish by rename.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from storage_service.store import atomic, copies


class Bulk:
    """A batch of new files on one file system. Use it as a context; it holds on to a folder, for later errors."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Opened before anything is written: Linux tells a failed write-back to those who had something open then.
        self._fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def write(self, path: Path, chunks: Iterable[bytes], changed_seconds: int = 0) -> None:
        """Write a file where nothing is yet, as if it had last been changed then. See `atomic.write_unsynced`."""
        for _ in self.written(path, chunks, changed_seconds):
            pass

    def written(self, path: Path, chunks: Iterable[bytes], changed_seconds: int = 0) -> Iterator[int]:
        """The same a piece at a time, each of which is answered with its length: a large file is a lot of work.

        Whoever does not go on to the end is left with half a file.
        """
        yield from copies.written_unsynced(path, chunks)
        if changed_seconds:
            os.utime(path, (changed_seconds, changed_seconds), follow_symlinks=False)

    def sync(self) -> None:
        """Make all of it durable, names and folders too. Raises DiskFailedError: some of it may be gone."""
        atomic.sync_file_system(self._fd, self._folder)
