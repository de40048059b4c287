"""A .jsonl file that is read once, and again when it changed under us."""

import errno
import os
import tempfile
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from jan.errors import FailedPreconditionError, TooLargeError
from jan.ids import ThreadId
from jan.telemetry import get_logger
from storage_service.store import atomic, jsonl
from storage_service.store.jsonl import Segment
from storage_service.store.records import JsonObject

logger = get_logger(__name__)

LogT = TypeVar("LogT", bound="Log")

Signature = tuple[int, int, int]

_NOTHING: Signature = (0, 0, 0)


class Log(ABC):
    """One file of records and what a subclass remembers of it.

    Everything goes through `open()`, which holds the file's lock and first brings the memory up to date, so a
    reader sees neither half a line nor one whose fsync is still under way.
    """

    def __init__(self, path: Path, quarantine: Path) -> None:
        self.path = path
        self._quarantine = quarantine
        self._lock = threading.RLock()
        self._seen: Signature | None = None
        self.unreadable: list[Segment] = []

    @abstractmethod
    def forget(self) -> None:
        """Empty the memory; the whole file follows through `take`."""

    @abstractmethod
    def take(self, segment: Segment, value: JsonObject) -> bool:
        """Remember one object; False when it is not a record of this file."""

    @contextmanager
    def open(self) -> Iterator[int]:
        """The open file, with the memory up to date; -1 when there is no file, or none that we may read."""
        with self._lock:
            fd, signature = self.find()
            try:
                self._catch_up(fd, signature)
                yield fd
            finally:
                if fd >= 0:
                    os.close(fd)

    def find(self) -> tuple[int, Signature]:
        """The file opened, or -1, and what changes when somebody changes it."""
        fd = open_to_read(self.path)
        return fd, _NOTHING if fd < 0 else _signature(os.fstat(fd))

    def append(self, values: Sequence[JsonObject]) -> None:
        """Add records in one write, inside `open()`. Durable on return; see `atomic.append` for errors.

        Raises TooLargeError: a record longer than a reader takes. FailedPreconditionError: the file is closed to us.
        """
        lines = [jsonl.encode(value) for value in values]
        if any(len(line) > jsonl.MAX_LINE_BYTES for line in lines):
            raise TooLargeError(f"A record must stay below {jsonl.MAX_LINE_BYTES} bytes.")
        size_before = self._seen[1] if self._seen else -1
        self._seen = None
        try:
            offset = atomic.append(self.path, b"".join(lines), self._quarantine)
        except PermissionError as error:
            logger.warning("not allowed to write", file=str(self.path), error=str(error))
            message = f"The server may not write {self.path.parent.name}/{self.path.name}: see who owns it."
            raise FailedPreconditionError(message) from None
        for line, value in zip(lines, values, strict=True):
            self.take(Segment(offset, len(line) - 1, value), value)
            offset += len(line)
        after = _signature(os.stat(self.path, follow_symlinks=False))
        if after[1] == size_before + sum(map(len, lines)):
            self._seen = after
        # Otherwise a torn tail was mended or somebody else wrote: read the file again at the next `open()`.

    def replace(self, lines: Iterable[bytes]) -> None:
        """Rewrite the whole file, inside `open()`. Durable on return; see `atomic.replace`."""
        self._seen = None
        atomic.replace(self.path, lines)

    def _catch_up(self, fd: int, signature: Signature) -> None:
        if signature == self._seen:
            return
        self.forget()
        self.unreadable = []
        for segment in jsonl.segments(fd) if fd >= 0 else ():
            if segment.value is None or not self.take(segment, segment.value):
                self.unreadable.append(segment)
        self._seen = signature
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
            if log is None:
                log = self._logs[thread_id] = self._make(thread_id)
            self._logs.move_to_end(thread_id)
            if len(self._logs) > self._size:
                self._logs.popitem(last=False)
            return log

    def drop(self, thread_id: ThreadId) -> None:
        """Forget a thread that was deleted."""
        with self._lock:
            self._logs.pop(thread_id, None)


def open_to_read(path: Path) -> int:
    """A file opened for reading; -1 when there is none, or a link."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
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


def _signature(stat: os.stat_result) -> Signature:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
