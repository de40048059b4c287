"""Where an import is built: a folder in `staging/`, the archive it comes from, and the account of it.

What takes long is done by generators that yield the number of bytes they dealt with, a piece at a time, so that whoever
drives them can let others in between, tell how far it is, or stop.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from storage_service.store import atomic
from storage_service.store.archive import Archive, Entry
from storage_service.store.bulk import Bulk
from storage_service.store.importing.report import Report

# So much may wait to be written when it is synced: more would keep a worker at it for seconds.
_SYNC_BYTES = 256 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024

Steps = Iterator[int]


class Workshop:
    """One import under way."""

    def __init__(self, folder: Path, archive: Archive | None, bulk: Bulk, report: Report) -> None:
        self.folder = folder
        self.report = report
        self._archive = archive
        self._bulk = bulk
        self._unsynced = 0
        self._made = 0
        self._set_aside: list[str] = []
        self.torn = folder / "torn"
        """For the ends of lines that a crash of the other server left."""
        self.torn.mkdir()
        self.finished = folder / "finished"
        """For threads, under their names."""
        self.finished.mkdir()

    def new_folder(self, collection: str) -> Path:
        """A new folder to build something in."""
        self._made += 1
        folder = self.folder / collection / str(self._made)
        folder.mkdir(parents=True)
        return folder

    def read(self, entry: Entry, most_bytes: int) -> bytes | None:
        """A whole file of the archive; None when it is longer than it may be."""
        return self._opened.read(entry, most_bytes)

    def pieces(self, entry: Entry) -> Iterator[bytes]:
        """A file of the archive, piece by piece."""
        return self._opened.pieces(entry)

    def named(self, name: str) -> Iterator[bytes]:
        """A file of the archive by its name."""
        return self.pieces(self._opened.entries[name])

    def extract(self, entry: Entry, path: Path) -> Steps:
        """Copy a file of the archive to a place in the folder, with the folders on the way."""
        yield from self.write(path, self.pieces(entry), entry.changed_seconds)

    def write(self, path: Path, chunks: Iterable[bytes], changed_seconds: int = 0) -> Steps:
        """Write a file at a place in the folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        for length in self._bulk.written(path, chunks, changed_seconds):
            yield length
            self._unsynced += length
            if self._unsynced > _SYNC_BYTES:
                self.sync()

    def sync(self) -> None:
        """Make durable what was written."""
        self._bulk.sync()
        self._unsynced = 0

    def quarantine(self, entry: Entry, reason: str, data: bytes | None = None) -> Steps:
        """Keep a file that has no other place where a person may look at it; `data` instead of what it holds."""
        if data is None:
            yield from self.extract(entry, self.quarantined / entry.name)
        else:
            yield from self.write(self.quarantined / entry.name, [data], entry.changed_seconds)
        self._set_aside.append(f"{entry.name}\0{entry.crc}\0{entry.size_bytes}")
        self.report.quarantined(entry.name, reason)

    def set_aside(self, name: str, data: bytes, reason: str) -> Steps:
        """The same for a part of a file."""
        yield from self.write(self.quarantined / name, [data])
        self._set_aside.append(f"{name}\0{hashlib.sha256(data).hexdigest()}")
        self.report.quarantined(name, reason)

    def quarantine_built(self, path: Path, name: str, reason: str) -> Steps:
        """The same for a file that was built; it is moved."""
        size = path.stat().st_size
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
                yield 0
        target = self.quarantined / name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        self._set_aside.append(f"{name}\0{digest.hexdigest()}\0{size}")
        self.report.quarantined(name, reason)

    def quarantine_all(self, entries: Iterable[Entry], reason: str) -> Steps:
        """The same for several."""
        for entry in entries:
            yield from self.quarantine(entry, reason)

    def quarantine_torn(self) -> None:
        """Set aside what had to leave a file, if anything did."""
        for path in sorted(self.torn.iterdir()):
            target = self.quarantined / path.name
            target.parent.mkdir(exist_ok=True)
            self._set_aside.append(f"{path.name.rpartition('.')[0]}\0{path.stat().st_size}")
            path.rename(target)
            self.report.quarantined(path.name, "The torn end of a runs.jsonl.")

    @property
    def quarantined(self) -> Path:
        """What is to be kept in the quarantine."""
        return self.folder / "quarantine"

    @property
    def quarantine_name(self) -> str:
        """A name for what was set aside, the same for the same files; empty when there is none."""
        if not self._set_aside:
            return ""
        told = "\n".join(sorted(self._set_aside))
        return f"import-{hashlib.sha256(told.encode()).hexdigest()[:16]}"

    def drop(self, folder: Path) -> None:
        """Remove something that was built and is not wanted."""
        atomic.remove_tree(folder)

    def discard(self) -> None:
        """Leave nothing behind."""
        atomic.remove_tree(self.folder)

    @property
    def _opened(self) -> Archive:
        if self._archive is None:
            raise AssertionError("this import has no archive")
        return self._archive
