"""What is unusual in one messages.jsonl."""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from storage_service.store import jsonl, layout
from storage_service.store.forms import content, fields
from storage_service.store.forms import messages as form
from storage_service.store.log import open_to_read
from storage_service.store.records import JsonObject
from storage_service.store.report.findings import Finding, Kind
from storage_service.store.report.walk import some, starts_with_mark

_CHUNK_BYTES = 1024 * 1024


def inspect(folder: Path, place: str) -> Iterator[Finding]:
    """The findings of a thread's messages, one for each kind, with the lines that it concerns."""
    path, place = folder / layout.MESSAGES_FILE, f"{place}/{layout.MESSAGES_FILE}"
    if path.exists() and not os.access(path, os.R_OK):
        yield Finding(place, Kind.UNREADABLE)
        return
    fd = open_to_read(path)
    if fd < 0:
        return
    try:
        lines = _Lines(fd, folder)
        for segment in jsonl.segments(fd):
            lines.take(segment)
    finally:
        os.close(fd)
    if starts_with_mark(path):
        yield Finding(place, Kind.BYTE_ORDER_MARK)
    for kind, where in lines.found.items():
        yield Finding(place, kind, some(where))


class _Lines:
    """One pass over a file's segments."""

    def __init__(self, fd: int, folder: Path) -> None:
        self._fd = fd
        self._folder = folder
        self._size = os.fstat(fd).st_size
        self._ids: set[str] = set()
        self._line = 1
        self._end = 0
        self.found: dict[Kind, list[str]] = defaultdict(list)

    def take(self, segment: jsonl.Segment) -> None:
        """Look at one segment; they come in file order."""
        newlines = self._newlines(self._end, segment.offset)
        is_glued = self._end > 0 and newlines == 0
        self._line += newlines
        self._end = segment.offset + segment.length
        if os.pread(self._fd, 1, self._end) == b"\r" and not self.found[Kind.CRLF]:
            self._note(Kind.CRLF)
        if segment.value is None:
            self._note(Kind.TORN_TAIL if self._end == self._size else Kind.BAD_LINE)
            return
        if is_glued:
            self._note(Kind.GLUED_LINES)
        self._message(segment.value)

    def _message(self, value: JsonObject) -> None:
        message_id = form.id_of(value)
        if message_id is None:
            self._note(Kind.FOREIGN_LINE)
            return
        if value.get("id") != message_id:
            self._note(Kind.MISSING_ID)
        if message_id in self._ids:
            self._note(Kind.DUPLICATE_ID)
        self._ids.add(message_id)
        if value.get("thread_id", self._folder.name) != self._folder.name:
            self._note(Kind.WRONG_THREAD_ID)
        for part in fields.objects(value, "content"):
            self._references(part)

    def _references(self, part: JsonObject) -> None:
        for reference in content.references(part):
            name = content.own_file(reference)
            if content.is_url(reference):
                continue
            if name is None:
                self._note(Kind.PATH_OUTSIDE)
            elif not (self._folder / "files" / name).is_file():
                self._note(Kind.MISSING_FILE)

    def _note(self, kind: Kind) -> None:
        self.found[kind].append(f"line {self._line}")

    def _newlines(self, start: int, end: int) -> int:
        chunks = (os.pread(self._fd, min(_CHUNK_BYTES, end - at), at) for at in range(start, end, _CHUNK_BYTES))
        return sum(chunk.count(b"\n") for chunk in chunks)
