"""Durable writes: replace a file, append to one, mend a torn last line.

Every promise the janroot makes about crashes is kept in this module and nowhere else. The recipes are the
ones measured for this product: for a whole file both fsyncs (file, then folder) or the file may come back
empty or missing after a power cut; for an append one write and one fsync, and the folder's fsync when the
file is new. An fsync that failed is never repeated: Linux drops the dirty pages and a second call reports
success for data that is gone ("fsyncgate", PostgreSQL 2018), so the only honest answer is to stop.
"""

import contextlib
import ctypes
import errno
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from jan.errors import ConflictError, StorageFullError
from storage_service.store import jsonl, plain, signature
from storage_service.store.signature import Signature

Result = TypeVar("Result")

_TRIES = 5

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CHUNK_BYTES = 64 * 1024


class DiskFailedError(Exception):
    """The disk refused to keep data that it had accepted. The process must exit without answering."""


class ChangedMeanwhileError(Exception):
    """Somebody else wrote the file between our reading and our writing; nothing was written."""


def again_if_changed(work: Callable[[], Result]) -> Result:
    """Read, decide and write; once more when somebody else wrote in between. Raises ConflictError: they go on."""
    for _ in range(_TRIES):
        with contextlib.suppress(ChangedMeanwhileError):
            return work()
    raise ConflictError("Another program keeps changing this file; try again.", retry_after_seconds=1)


@contextlib.contextmanager
def telling_no_room() -> Iterator[None]:
    """A full disk also refuses new names: say so in the caller's words. Raises StorageFullError."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise StorageFullError("The server's disk is full; make room there, then try again.") from error
        raise


@telling_no_room()
def replace(path: Path, chunks: Iterable[bytes], instead_of: Signature | None = None) -> None:
    """Put a whole file in the place of `path`; a reader or a crash sees the old one or the new one.

    Durable on return. One writer of ours per file is assumed, so the temporary's name is fixed and one that a crash
    left behind is overwritten by the next writer. Raises StorageFullError: no room, and the old file stands.
    Raises ChangedMeanwhileError: somebody else wrote; the file is not the one with the signature `instead_of`.
    FailedPreconditionError: something that is no plain file has the name.
    """
    plain.check(path)
    temporary = path.with_name(f".{path.name}.tmp")
    write_new(temporary, chunks)
    if instead_of is not None and signature.of_path(path) != instead_of:
        temporary.unlink()
        raise ChangedMeanwhileError
    try:
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_dir(path.parent)


class Draft:
    """A file that grows piece by piece where nobody looks, and is then published or discarded.

    Not safe to use from several threads at once.
    """

    @telling_no_room()
    def __init__(self, path: Path) -> None:
        """Begin an empty file; the name must be free."""
        self.path = path
        self.size = 0
        self._fd = plain.open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)

    @telling_no_room()
    def write(self, data: bytes) -> None:
        """Add bytes at the end; not durable yet. Raises StorageFullError: no room, and the draft is to be discarded."""
        _write_all(self._fd, data, self.path)
        self.size += len(data)

    @telling_no_room()
    def sync(self) -> None:
        """Make durable what was written so far."""
        _sync(self._fd, self.path)

    @telling_no_room()
    def finish(self) -> None:
        """Make what was written durable; nothing can be added any more. It still needs `publish`."""
        _sync(self._fd, self.path)
        self.close()

    def discard(self) -> None:
        """Leave nothing behind; no error after `publish` or a second time."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Write no more; what was written is not durable by that."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@telling_no_room()
def write_at(path: Path, offset: int, data: bytes, *, sync: bool) -> None:
    """Add bytes to a file that ends at `offset` and that nobody reads yet; durable on return where `sync` says so.

    Raises StorageFullError: no room, and the file is as it was before.
    """
    fd = plain.open_file(path, os.O_WRONLY | os.O_CREAT)
    try:
        os.lseek(fd, offset, os.SEEK_SET)
        _write_or_cut_back(fd, data, offset, path)
        if sync:
            _sync(fd, path)
    finally:
        os.close(fd)


def sync_file(path: Path) -> None:
    """Make a file durable that was written piece by piece, but for its name."""
    fd = plain.open_file(path, os.O_RDONLY)
    try:
        _sync(fd, path)
    finally:
        os.close(fd)


@telling_no_room()
def append(path: Path, data: bytes, quarantine: Path) -> int:
    """Add whole lines at the end of a file, which is made when absent; answers the offset they start at.

    Durable on return. A torn last line is moved into `quarantine` first, so the new lines start on a fresh one.
    A file that is put in the place of this one meanwhile, as rsync and many editors do, gets the lines as well.
    Raises StorageFullError: no room, and the file is as it was before. FailedPreconditionError: it is no plain file.
    """
    while True:
        inode, start = _append(path, data, quarantine)
        if signature.of_path(path)[0] == inode:
            return start


def _append(path: Path, data: bytes, quarantine: Path) -> tuple[int, int]:
    """Append to the file that has the name now; answers its inode and the offset."""
    fd = plain.open_file(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    try:
        start = _mend(fd, path, quarantine)
        _write_or_cut_back(fd, data, start, path)
        _sync(fd, path)
        inode = os.fstat(fd).st_ino
    finally:
        os.close(fd)
    if start == 0:
        sync_dir(path.parent)
    return inode, start


@telling_no_room()
def set_aside(path: Path, quarantine: Path) -> Path:
    """Copy a file into `quarantine` before it is replaced, so that nothing a user wrote is lost. Durable.

    Raises FailedPreconditionError: it is no plain file.
    """
    with open(plain.open_file(path, os.O_RDONLY), "rb") as source:
        return _quarantine(iter(lambda: source.read(_CHUNK_BYTES), b""), path, quarantine)


@telling_no_room()
def make_dir(path: Path) -> None:
    """Make a folder and its parents, durably. An existing one is left alone."""
    if path.is_dir():
        return
    make_dir(path.parent)
    path.mkdir(exist_ok=True)
    sync_dir(path.parent)


@telling_no_room()
def claim_dir(path: Path) -> bool:
    """Make a folder unless something has its name; tell whether it was made. Not durable yet."""
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True


@telling_no_room()
def publish(staged: Path, place: Path) -> None:
    """Move a finished folder to its place, durably. The folder it was built in is not synced: nobody looks there."""
    os.rename(staged, place)
    sync_dir(place.parent)


@telling_no_room()
def rename(source: Path, target: Path) -> None:
    """Move a file or folder, durably: it is in the one folder or in the other, never in both or none."""
    os.rename(source, target)
    sync_dir(target.parent)
    sync_dir(source.parent)


@telling_no_room()
def move(source: Path, target: Path) -> None:
    """Move a file or folder; durable once both folders are synced, which many moves may share."""
    os.rename(source, target)


def sync_dir(path: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync(fd, path)
    finally:
        os.close(fd)


def sync_file_system(fd: int, path: Path) -> None:
    """Make everything durable that was written to the file system since `fd`, any folder of it, was opened."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
    elif syncfs(fd) != 0:
        raise DiskFailedError(f"syncfs of {path} failed: {os.strerror(ctypes.get_errno())}")


def remove(path: Path) -> None:
    """Delete a file or folder that nobody refers to any more. Not durable, and need not be: see the callers."""
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)


def remove_tree(path: Path) -> None:
    """Delete a folder that nobody refers to any more. Not durable, and need not be: see the callers."""
    shutil.rmtree(path, ignore_errors=True)


def write_new(path: Path, chunks: Iterable[bytes]) -> None:
    """Write and sync a file that nobody reads yet; one that cannot be finished is removed."""
    fd = plain.open_file(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        for chunk in chunks:
            _write_all(fd, chunk, path)
        _sync(fd, path)
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    finally:
        os.close(fd)


def _write_or_cut_back(fd: int, data: bytes, start: int, path: Path) -> None:
    """A full disk leaves half a line behind (seen on ext4 and tmpfs alike): take it away again."""
    try:
        _write_all(fd, data, path)
    except BaseException:
        try:
            os.ftruncate(fd, start)
        except OSError as error:
            raise DiskFailedError(f"cannot cut {path} back to {start} bytes: {error}") from error
        _sync(fd, path)
        raise


def _write_all(fd: int, data: bytes, path: Path) -> None:
    """One write() for everything; the loop only goes round again after a short write, to learn its reason."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        raise DiskFailedError(f"cannot write {path}: {error}") from error


def _sync(fd: int, path: Path) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        raise DiskFailedError(f"fsync of {path} failed: {error}") from error


def _mend(fd: int, path: Path, quarantine: Path) -> int:
    """Make the open file end with a newline; answers its size then."""
    size = os.fstat(fd).st_size
    if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
        return size
    line = _last_line_start(fd, size)
    whole = _whole_until(fd, line, size)
    if whole < size:
        _quarantine(_chunks(fd, whole, size), path, quarantine)
        os.ftruncate(fd, whole)
        _sync(fd, path)
    if whole == line:
        return whole
    # Whole records without their newline, as an editor may leave them.
    _write_or_cut_back(fd, b"\n", whole, path)
    return whole + 1


def _last_line_start(fd: int, size: int) -> int:
    end = size
    while end > 0:
        begin = max(0, end - _CHUNK_BYTES)
        newline = os.pread(fd, end - begin, begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        end = begin
    return 0


def _whole_until(fd: int, start: int, end: int) -> int:
    """Where the whole objects of a last line end: what follows is torn."""
    for segment in jsonl.split(start, os.pread(fd, end - start, start)) if end - start < jsonl.MAX_LINE_BYTES else ():
        if segment.value is None:
            break
        start = segment.offset + segment.length
    return start


def _chunks(fd: int, start: int, end: int) -> Iterator[bytes]:
    for offset in range(start, end, _CHUNK_BYTES):
        yield os.pread(fd, min(_CHUNK_BYTES, end - offset), offset)


def _quarantine(chunks: Iterable[bytes], path: Path, quarantine: Path) -> Path:
    """Keep bytes that leave `path`, under a name that says where they were."""
    kept = quarantine / f"{path.parent.name}.{path.name}.{time.time_ns()}"
    write_new(kept, chunks)
    sync_dir(quarantine)
    return kept
