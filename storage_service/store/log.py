"""A .jsonl file that is read once, and again when it changed under us."""

import errno
import os
import stat
import tempfile
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from jan.errors import FailedPreconditionError, StorageFullError
from jan.ids import ThreadId
from jan.telemetry import get_logger
from storage_service.store import atomic, jsonl, signature
from storage_service.store.jsonl import Line, Segment
from storage_service.store.records import JsonObject
from storage_service.store.signature import Signature

logger = get_logger(__name__)

LogT = TypeVar("LogT", bound="Log")

# Of records in memory over all logs of a cache, some 250 bytes each.
_MAX_RECORDS = 400_000


class Log(ABC):
    """One file of records and what a subclass remembers of it.

    Everything goes through `open()`, which holds the file's lock and first brings the memory up to date, so a
    reader sees neither half a line nor one whose fsync is still under way.
    """

    def __init__(self, path: Path, quarantine: Path) -> None:
        self.path = path
        self.folder = str(path.parent)
        self._quarantine = quarantine
        self._lock = threading.RLock()
        self.seen: Signature | None = None
        self.unreadable: list[Segment] = []

    @abstractmethod
    def forget(self) -> None:
        """Empty the memory; the whole file follows through `take`."""

    @abstractmethod
    def take(self, segment: Segment, value: JsonObject) -> bool:
        """Remember one object; False when it is not a record of this file."""

    @abstractmethod
    def __len__(self) -> int:
        """How many records are remembered."""

    def recall(self, seen: Signature) -> bool:
        """Remember a file of this signature without reading it, if that was provided for."""
        del seen
        return False

    @contextmanager
    def open(self) -> Iterator[int]:
        """The open file, with the memory up to date; -1 when there is no file, or none that we may read."""
        with self._lock:
            fd, seen = self.find()
            try:
                self._catch_up(fd, seen)
                yield fd
            finally:
                if fd >= 0:
                    os.close(fd)

    def find(self) -> tuple[int, Signature]:
        """The file opened, or -1, and what changes when somebody changes it."""
        fd = open_to_read(self.path)
        return fd, signature.of_fd(fd)

    def append(self, lines: Sequence[Line]) -> None:
        """Add records in one write, inside `open()`.

        Durable on return; see `atomic.append` for errors. Raises FailedPreconditionError: the file is closed to us.
        """
        before, self.seen = self.seen or signature.NOTHING, None
        try:
            start = offset = atomic.append(self.path, b"".join(line.data for line in lines), self._quarantine)
        except StorageFullError:
            self._believe(before, 0)
            raise
        except PermissionError as error:
            logger.warning("not allowed to write", file=str(self.path), error=str(error))
            message = f"The server may not write {self.path.parent.name}/{self.path.name}: see who owns it."
            raise FailedPreconditionError(message) from None
        for line in lines:
            self.take(Segment(offset, len(line.data) - 1, line.value), line.value)
            offset += len(line.data)
        self._believe(before, offset - start)

    def _believe(self, before: Signature, grown: int) -> None:
        """Keep the memory when the file is what it was `before`, longer by the lines that were taken.

        Otherwise a torn tail was mended or somebody else wrote: it is read again at the next `open()`.
        """
        after = signature.of_path(self.path)
        if before[0] in {after[0], 0} and after[1] == before[1] + grown:
            self.seen = after

    def replace(self, lines: Iterable[bytes]) -> None:
        """Rewrite the whole file, inside `open()`. Durable on return; see `atomic.replace`.

        Raises ChangedMeanwhileError: somebody else wrote since the log was opened.
        """
        instead_of, self.seen = self.seen, None
        atomic.replace(self.path, lines, instead_of)

    def _catch_up(self, fd: int, seen: Signature) -> None:
        if seen == self.seen:
            return
        self.forget()
        self.unreadable = []
        if not self.recall(seen):
            for segment in jsonl.segments(fd) if fd >= 0 else ():
                if segment.value is None or not self.take(segment, segment.value):
                    self.unreadable.append(segment)
        self.seen = seen
        if self.unreadable:
            logger.warning("lines skipped: not readable", file=str(self.path), lines=len(self.unreadable))


class LogCache(Generic[LogT]):
    """The logs of the threads used last. Losing one costs a read of its file."""

    def __init__(self, make: Callable[[ThreadId], LogT], size: int = 512) -> None:
        self._make = make
        self._size = size
        self._lock = threading.Lock()
        self._logs: OrderedDict[ThreadId, LogT] = OrderedDict()

    def get(self, thread_id: ThreadId) -> LogT:
        """The log of a thread."""
        with self._lock:
            log = self._logs.get(thread_id)
            if log is not None and not os.path.isdir(log.folder):  # Its folder was moved by hand.
                log = None
            if log is None:
                self._make_room()
                log = self._logs[thread_id] = self._make(thread_id)
            self._logs.move_to_end(thread_id)
            return log

    def all(self) -> list[LogT]:
        """Every log that is remembered."""
        with self._lock:
            return list(self._logs.values())

    def drop(self, thread_id: ThreadId) -> None:
        """Forget a thread that was deleted."""
        with self._lock:
            self._logs.pop(thread_id, None)

    def _make_room(self) -> None:
        records = sum(map(len, self._logs.values()))
        while len(self._logs) >= self._size or (self._logs and records > _MAX_RECORDS):
            _, log = self._logs.popitem(last=False)
            records -= len(log)


@contextmanager
def reading(path: Path) -> Iterator[int]:
    """A file opened to be read; -1 when there is none, or a link."""
    fd = open_to_read(path)
    try:
        yield fd
    finally:
        if fd >= 0:
            os.close(fd)


def open_to_read(path: Path) -> int:
    """A file opened for reading; -1 when there is none, or a link."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(fd).st_mode):  # a folder or a pipe of that name
            os.close(fd)
            return -1
        return fd
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return -1
        if isinstance(error, PermissionError):
            logger.warning("file skipped: not allowed to read it", file=str(path))
            return -1
        raise


def in_memory(data: bytes) -> int:
    """An open file with these bytes and no name."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return os.dup(file.fileno())
