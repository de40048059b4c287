"""Uploads: `files/<id>` holds the bytes, `files/<id>.json` says what they are.

The bytes are what makes a file exist: they are moved in last and out first, each time by one rename. So a crash
leaves at most a description of nothing, which the next start removes, or bytes in `staging/`, which it empties.
"""

import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from jan.errors import InvalidArgumentError, JanError, NotFoundError, TooLargeError
from jan.ids import FileId
from jan.telemetry import get_logger
from storage_service.store import atomic, jsonfile, layout, signature
from storage_service.store.clock import Clock, Stopwatch, TwoLooks
from storage_service.store.forms import files as form
from storage_service.store.paging import Page, PageQuery, cut
from storage_service.store.records import File
from storage_service.store.revisions import revision_of

logger = get_logger(__name__)

MAX_FILE_BYTES = 512 * 1024 * 1024
MAX_LIMIT = 10_000

_OURS = re.compile(r"file-[0-9a-f]{24}\.json|\.file-[0-9a-f]{24}\.json\.tmp")
_DESCRIPTION = ".json"

Signature = tuple[int, int, int]


class Upload:
    """A file on its way in, nothing on disk before its first bytes. Ends with `Files.finish` or `discard`.

    One user at a time.
    """

    def __init__(self, place: Path, most_bytes: int | None = None) -> None:
        self._place = place
        self._most_bytes = MAX_FILE_BYTES if most_bytes is None else most_bytes
        self._draft: atomic.Draft | None = None

    @property
    def draft(self) -> atomic.Draft:
        """The file as far as it was written."""
        if self._draft is None:
            self._draft = atomic.Draft(self._place)
        return self._draft

    @property
    def is_begun(self) -> bool:
        """Whether there is a draft yet."""
        return self._draft is not None

    def write(self, data: bytes) -> None:
        """Add bytes. Raises TooLargeError: beyond the limit. StorageFullError: no room. Discard it then."""
        if self.draft.size + len(data) > self._most_bytes:
            raise TooLargeError(f"A file may hold at most {self._most_bytes} bytes.", param="file")
        self.draft.write(data)

    def discard(self) -> None:
        """Leave nothing behind, unless it was finished."""
        if self._draft is not None:
            self._draft.discard()


class OpenFile:
    """A file's bytes, once `open` opened them; they stay readable when the file is removed. Close it.

    revision: names this state of the file; made of what the file system says of it, so that nothing is read for it.
    """

    def __init__(self) -> None:
        self.fd = -1
        self.size_bytes = 0
        self.revision = ""

    def open(self, path: Path) -> bool:
        """Open a plain file for reading; False for a link, a folder, a device, or nothing at all."""
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return False
        status = os.fstat(self.fd)
        self.size_bytes = status.st_size
        self.revision = revision_of(repr(signature.of(status)).encode())
        return stat.S_ISREG(status.st_mode)

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; none at the end."""
        return os.pread(self.fd, length, offset)

    def span(self, offset: int, length: int) -> range:
        """Where up to `length` bytes from `offset` lie; 0 for all, an offset below zero counts from the end."""
        start = min(offset, self.size_bytes) if offset >= 0 else max(self.size_bytes + offset, 0)
        return range(start, min(start + length, self.size_bytes) if length > 0 else self.size_bytes)

    def close(self) -> None:
        """Let go of the file."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Files:
    """Take in, read, list and remove uploads. Names on disk are generated ids; a client's name is only kept."""

    def __init__(self, where: layout.Layout, clock: Clock, stopwatch: Stopwatch) -> None:
        self._looks = TwoLooks(stopwatch)
        self._layout = where
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[FileId, tuple[Signature, File]] = {}
        self._claimed: set[int] = set()
        self._uploads = 0
        self.on_removal: Callable[[FileId], None] = lambda _: None
        """Hears of every file before it is removed."""

    def begin(self, most_bytes: int | None = None) -> Upload:
        """Start an upload, which grows where nobody sees it."""
        with self._lock:
            self._uploads += 1
            return Upload(self._layout.staging / f"upload.{self._uploads}", most_bytes)

    def finish(self, upload: Upload, file: File, lifetime_ms: int | None = None) -> File:
        """Make what was uploaded a file; its length and times are the store's. Durable on return.

        The id of a file that exists answers that file. Raises StorageFullError: nothing was added.
        """
        stored = self._read(file.id)
        if stored is not None:
            return stored
        created_ms = self._claim_ms()
        expires_ms = None if lifetime_ms is None else created_ms + lifetime_ms
        file = replace(file, size_bytes=upload.draft.size, created_ms=created_ms, expires_ms=expires_ms)
        upload.draft.finish()
        description = self._description(file.id)
        jsonfile.write(description, form.to_json(file))
        try:
            atomic.move(upload.draft.path, self._layout.file(file.id))
        except (JanError, OSError):
            description.unlink(missing_ok=True)
            raise
        atomic.sync_dir(self._layout.files)  # Should this fail, the bytes are there all the same, and stay described.
        return file

    def get(self, file_id: FileId) -> File:
        """What is known of a file. Raises NotFoundError: there is none, or it has expired."""
        file = self._read(file_id)
        if file is None or self._has_expired(file):
            raise _not_found(file_id)
        return file

    def exists(self, file_id: str) -> bool:
        """Whether a text is the id of a file that can be read."""
        try:
            self.get(FileId.parse(file_id))
        except (InvalidArgumentError, NotFoundError):
            return False
        return True

    def open(self, file_id: FileId, into: OpenFile) -> File:
        """Open a file's bytes; answers what is known of it. Raises NotFoundError."""
        file = self.get(file_id)
        if not into.open(self._layout.file(file_id)):
            raise _not_found(file_id)
        return replace(file, size_bytes=into.size_bytes)

    def page(self, query: PageQuery, purpose: str = "") -> Page[File]:
        """One page of files, or of those for one purpose, in order of creation; up to 10,000.

        Raises InvalidArgumentError: see `paging.cut`.
        """
        files = [file for file in self._scan() if purpose in ("", file.purpose) and not self._has_expired(file)]
        index: dict[str, int] = {file.id: position for position, file in enumerate(files)}
        return cut(files, query, index.get, max_limit=MAX_LIMIT)

    def delete(self, file_id: FileId) -> None:
        """Remove a file for good. Durable on return. Raises NotFoundError."""
        self.get(file_id)
        self._remove(file_id)

    def remove_expired(self) -> int:
        """Remove what has outlived its time, see `TwoLooks`; answers how many files."""
        expired = self._looks.confirmed(file.id for file in self._scan() if self._has_expired(file))
        for file_id in map(FileId, expired):
            self._remove(file_id)
        return len(expired)

    def sweep(self) -> None:
        """Remove descriptions whose bytes never came or have gone: what a crash leaves of an upload. Only at start."""
        with os.scandir(self._layout.files) as entries:
            names = {entry.name for entry in entries}
        for name in names:
            if _OURS.fullmatch(name) and (name.startswith(".") or name.removesuffix(_DESCRIPTION) not in names):
                logger.warning("left over from an upload that broke off; removed", file=name)
                (self._layout.files / name).unlink(missing_ok=True)

    def _remove(self, file_id: FileId) -> None:
        self.on_removal(file_id)
        gone = self._layout.staging / f"{file_id}.gone"
        atomic.rename(self._layout.file(file_id), gone)
        self._description(file_id).unlink(missing_ok=True)
        gone.unlink(missing_ok=True)

    def _read(self, file_id: FileId) -> File | None:
        """A file as it lies there; None when it lacks its bytes or its description, or is no plain file."""
        size_bytes = plain_size(self._layout.file(file_id))
        raw = None if size_bytes is None else jsonfile.read(self._description(file_id))
        return None if raw is None or size_bytes is None else form.from_json(file_id, raw, size_bytes)

    def _scan(self) -> list[File]:
        """Every file, oldest first. Descriptions are read when they are new or changed."""
        with self._lock:
            known, self._known = self._known, {}
            for file_id, signature in self._described():
                before = known.get(file_id)
                file = before[1] if before is not None and before[0] == signature else self._read(file_id)
                if file is not None:
                    self._known[file_id] = signature, file
            return sorted((file for _, file in self._known.values()), key=lambda file: (file.created_ms, file.id))

    def _described(self) -> Iterator[tuple[FileId, Signature]]:
        with os.scandir(self._layout.files) as entries:
            found = {entry.name: entry for entry in entries if entry.is_file(follow_symlinks=False)}
        for name, entry in found.items():
            if not name.endswith(_DESCRIPTION) or name.removesuffix(_DESCRIPTION) not in found:
                continue
            try:
                yield FileId.parse(name.removesuffix(_DESCRIPTION)), _signature(entry)
            except (InvalidArgumentError, FileNotFoundError):
                continue

    def _claim_ms(self) -> int:
        """A time of creation that no other new file has: now, or the next free millisecond."""
        now_ms = self._clock()
        with self._lock:
            while now_ms in self._claimed:
                now_ms += 1
            self._claimed.add(now_ms)
        return now_ms

    def _has_expired(self, file: File) -> bool:
        return file.expires_ms is not None and file.expires_ms <= self._clock()

    def _description(self, file_id: FileId) -> Path:
        return self._layout.files / f"{FileId.parse(file_id)}{_DESCRIPTION}"


def plain_size(path: Path) -> int | None:
    """The length of a plain file; None for anything else."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _signature(entry: os.DirEntry[str]) -> Signature:
    status = entry.stat(follow_symlinks=False)
    return status.st_ino, status.st_size, status.st_mtime_ns


def _not_found(file_id: FileId) -> NotFoundError:
    return NotFoundError(f"No such File object: {file_id:.64}", param="id")
