"""What is unusual in a file of lines that are no messages: runs, and results of batches."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from storage_service.store import jsonl
from storage_service.store.log import open_to_read
from storage_service.store.records import JsonObject
from storage_service.store.report.findings import Finding, Kind
from storage_service.store.report.walk import some


def inspect(path: Path, place: str, is_known: Callable[[JsonObject], bool]) -> Iterator[Finding]:
    """The findings of a file, one for each kind, with where in it they are; a line that nobody knows is foreign."""
    if path.is_file() and not os.access(path, os.R_OK):
        yield Finding(place, Kind.UNREADABLE)
        return
    fd = open_to_read(path)
    if fd < 0:
        return
    found: dict[Kind, list[str]] = {}
    try:
        size = os.fstat(fd).st_size
        for number, segment in enumerate(jsonl.segments(fd), 1):
            if segment.value is None:
                kind = Kind.TORN_TAIL if segment.offset + segment.length == size else Kind.BAD_LINE
            elif not is_known(segment.value):
                kind = Kind.FOREIGN_LINE
            else:
                continue
            found.setdefault(kind, []).append(f"record {number}")
    finally:
        os.close(fd)
    for kind, where in found.items():
        yield Finding(place, kind, some(where))
