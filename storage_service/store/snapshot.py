"""What one run of the service leaves the next about its threads: `.server/index/threads`.

Only ever a hint. A file that is missing, torn, of another version or not what it says is as good as none, and what it
says of a thread is believed until the thread's files have been looked at.
"""

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from jan.errors import InvalidArgumentError, StorageFullError
from jan.ids import ThreadId
from jan.telemetry import get_logger
from storage_service.store import atomic

logger = get_logger(__name__)

_MAGIC = b"janroot threads 1 "
# Of ten million threads; what is longer was not written here.
_MAX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Files:
    """The digests of a thread's files (see `signature`); 0 for one that is not there."""

    thread: int
    messages: int
    runs: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Threads by time of creation in milliseconds, their files as they were looked at, and those with active runs."""

    created: Mapping[ThreadId, int] = field(default_factory=dict)
    files: Mapping[ThreadId, Files] = field(default_factory=dict)
    active: frozenset[ThreadId] = frozenset()


def load(path: Path) -> Snapshot:
    """Read a snapshot; an empty one when there is none that can be used."""
    try:
        data = path.read_bytes() if os.path.getsize(path) <= _MAX_BYTES else b""
        return _parse(data)
    except FileNotFoundError:
        return Snapshot()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidArgumentError) as error:
        logger.warning("thread index thrown away: it is made anew", file=str(path), reason=str(error)[:200])
        return Snapshot()


def save(path: Path, snapshot: Snapshot) -> None:
    """Replace the snapshot. A full disk keeps the old one, which costs the next start some reading."""
    blank = Files(0, 0, 0)
    files = [snapshot.files.get(thread_id, blank) for thread_id in snapshot.created]
    body = orjson.dumps(
        {
            "ids": list(snapshot.created),
            "created": list(snapshot.created.values()),
            "thread": [item.thread for item in files],
            "messages": [item.messages for item in files],
            "runs": [item.runs for item in files],
            "active": sorted(snapshot.active),
        },
    )
    try:
        atomic.replace(path, [_MAGIC, b"%08x\n" % zlib.crc32(body), body])
    except StorageFullError:
        logger.warning("thread index not written: the disk is full", file=str(path))


def _parse(data: bytes) -> Snapshot:
    head, _, body = data.partition(b"\n")
    if head != _MAGIC + b"%08x" % zlib.crc32(body):
        raise ValueError("another version, or torn")
    columns = orjson.loads(body)
    ids = [ThreadId.parse(text) for text in columns["ids"]]
    signatures = map(Files, columns["thread"], columns["messages"], columns["runs"])
    return Snapshot(
        created=dict(zip(ids, map(int, columns["created"]), strict=True)),
        files=dict(zip(ids, signatures, strict=True)),
        active=frozenset(map(ThreadId.parse, columns["active"])),
    )
