"""Messages: the lines of a thread's messages.jsonl, appended oldest first."""

import os
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import orjson

from jan.errors import FailedPreconditionError, NotFoundError
from jan.ids import MessageId, ThreadId
from storage_service.store import atomic, jsonl, layout
from storage_service.store.clock import Clock
from storage_service.store.forms import fields
from storage_service.store.forms import messages as form
from storage_service.store.jsonl import Segment
from storage_service.store.log import Log, LogCache, Signature, in_memory, open_to_read
from storage_service.store.paging import Page, PageQuery, cut
from storage_service.store.records import JsonObject, Message, MessageStatus


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a message stands: in its thread's order by (created_ms, position), and in its file."""

    created_ms: int
    position: int
    id: MessageId
    run_id: str
    segment: Segment


class MessageHome(Protocol):
    """What messages need to know of threads; see `Threads`."""

    def folder(self, thread_id: ThreadId) -> Path:
        """The folder of a thread that exists, to read from. Raises NotFoundError."""

    def own_folder(self, thread_id: ThreadId) -> Path:
        """The same to write into."""

    def messages_inside(self, thread_id: ThreadId) -> bytes:
        """The lines that stand in for a file that is not there."""


class MessageLog(Log):
    """The index of one messages.jsonl. Of two lines with one id the later counts, in the earlier's place.

    `inside` gives the lines of a thread that has no such file yet: they are read as if they lay in one.
    """

    def __init__(self, path: Path, quarantine: Path, inside: Callable[[], bytes]) -> None:
        super().__init__(path, quarantine)
        self._inside = inside

    def find(self) -> tuple[int, Signature]:
        """See Log."""
        fd, signature = super().find()
        if fd >= 0:
            return fd, signature
        lines = self._inside()
        # Without lines the file may have been made in between.
        return (in_memory(lines), (-1, len(lines), hash(lines))) if lines else super().find()

    def forget(self) -> None:
        """See Log."""
        self.entries: list[Entry] = []
        self.by_id: dict[MessageId, Entry] = {}

    def take(self, segment: Segment, value: JsonObject) -> bool:
        """See Log. A line without an id cannot be addressed and is left alone."""
        message_id = form.id_of(value)
        if message_id is None:
            return False
        earlier = self.by_id.get(message_id)
        created_ms = form.created_ms_of(value) or self.last_created_ms()
        entry = Entry(
            created_ms=earlier.created_ms if earlier else created_ms,
            position=earlier.position if earlier else len(self.by_id),
            id=message_id,
            run_id=fields.text(value, "run_id"),
            segment=replace(segment, value=None),
        )
        self.by_id[message_id] = entry
        if earlier is not None:
            self.entries[bisect_left(self.entries, _place(earlier), key=_place)] = entry
        elif created_ms >= self.last_created_ms():
            self.entries.append(entry)
        else:
            insort(self.entries, entry, key=_place)
        return True

    def last_created_ms(self) -> int:
        """The latest time of creation, 0 without messages."""
        return self.entries[-1].created_ms if self.entries else 0


class Messages:
    """Append, read, list, change and delete a thread's messages.

    `active_run` gives the id of the run that holds a thread, if any.
    """

    def __init__(
        self,
        threads: MessageHome,
        active_run: Callable[[ThreadId], str | None],
        quarantine: Path,
        clock: Clock,
    ) -> None:
        self._threads = threads
        self._active_run = active_run
        self._clock = clock
        self.logs = LogCache(
            lambda thread_id: MessageLog(
                threads.folder(thread_id) / layout.MESSAGES_FILE,
                quarantine,
                lambda: threads.messages_inside(thread_id),
            )
        )

    def append(self, thread_id: ThreadId, messages: Sequence[Message]) -> list[Message]:
        """Add messages at the end of a thread, in one write; answers them as stored.

        Durable on return: the lines are fsynced, and for a new file its folder too. A message whose id the thread
        has is not added again. Times are the store's, but for that at which an answer was begun, and never decrease
        within the thread.
        Raises NotFoundError: no such thread. FailedPreconditionError: a run holds the thread, and the message is
        not that run's. StorageFullError: no room, and the file is as it was before.
        """
        self._make_file(thread_id)
        log = self.logs.get(thread_id)
        with log.open() as fd:
            stored = {message.id: log.by_id.get(message.id) for message in messages}
            new = [message for message in messages if stored[message.id] is None]
            self._check_not_held(thread_id, new)
            last_ms = log.last_created_ms()
            now_ms = max(self._clock(), last_ms)
            added = {message.id: stamped(message, thread_id, now_ms, last_ms) for message in new}
            if added:
                log.append([form.to_json(message) for message in added.values()])
            return [
                _read(thread_id, fd, entry) if (entry := stored[message.id]) else added[message.id]
                for message in messages
            ]

    def get(self, thread_id: ThreadId, message_id: MessageId) -> Message:
        """Read a message. Raises NotFoundError."""
        self._threads.folder(thread_id)
        log = self.logs.get(thread_id)
        with log.open() as fd:
            return _read(thread_id, fd, _entry(log, message_id))

    def page(self, thread_id: ThreadId, query: PageQuery, run_id: str = "") -> Page[Message]:
        """One page of a thread's messages in order of creation, or of those that one run wrote.

        Large messages make it shorter, see `paging.cut`.

        Raises NotFoundError: no such thread. InvalidArgumentError: see `paging.cut`.
        """
        self._threads.folder(thread_id)
        log = self.logs.get(thread_id)
        with log.open() as fd:
            entries = [entry for entry in log.entries if entry.run_id == run_id] if run_id else log.entries
            page = cut(entries, query, lambda message_id: _index(log, entries, message_id), _size_bytes)
            return Page(tuple(_read(thread_id, fd, entry) for entry in page.items), page.has_more)

    def change(self, thread_id: ThreadId, message_id: MessageId, change: Callable[[Message], Message]) -> Message:
        """Rewrite one line with what `change` makes of the message; id, thread and creation time stay.

        Every other line stays byte for byte, readable or not. Durable on return. Raises NotFoundError,
        StorageFullError.
        """
        self._make_file(thread_id)
        log = self.logs.get(thread_id)
        with log.open() as fd:
            entry = _entry(log, message_id)
            before = _read(thread_id, fd, entry)
            after = replace(change(before), id=before.id, thread_id=thread_id, created_ms=before.created_ms)
            line = jsonl.encode(form.change(_value(fd, entry), before, after, self._clock()))
            log.replace(_lines_without(fd, message_id, {entry.segment.offset: line}))
            return after

    def delete(self, thread_id: ThreadId, message_id: MessageId) -> None:
        """Take a message's line out of the file. Durable on return. Raises NotFoundError, StorageFullError."""
        self._make_file(thread_id)
        log = self.logs.get(thread_id)
        with log.open() as fd:
            _entry(log, message_id)
            log.replace(_lines_without(fd, message_id, {}))

    def _make_file(self, thread_id: ThreadId) -> None:
        """See that a thread that is about to be written has the messages of its draft in a file of their own."""
        path = self._threads.own_folder(thread_id) / layout.MESSAGES_FILE
        if not os.path.lexists(path):
            lines = self._threads.messages_inside(thread_id)
            if lines:
                atomic.replace(path, [lines])

    def _check_not_held(self, thread_id: ThreadId, messages: Sequence[Message]) -> None:
        active = self._active_run(thread_id)
        if active is not None and any(message.run_id != active for message in messages):
            raise FailedPreconditionError(f"Can't add messages to {thread_id} while a run {active} is active.")


def stamped(message: Message, thread_id: ThreadId, now_ms: int, last_ms: int = 0) -> Message:
    """A new message with its thread and times: made now, and whole or ended early now when it says that it is.

    An answer that says when it was begun keeps that time, unless it lies in front of the thread's last message.
    """
    return replace(
        message,
        thread_id=thread_id,
        created_ms=min(max(message.created_ms, last_ms), now_ms) if message.created_ms else now_ms,
        completed_ms=now_ms if message.status is MessageStatus.COMPLETED else None,
        incomplete_ms=now_ms if message.status is MessageStatus.INCOMPLETE else None,
    )


def _size_bytes(entry: Entry) -> int:
    return entry.segment.length


def first_ms(path: Path) -> int | None:
    """When the first message of a file was made, if there is one that says so."""
    fd = open_to_read(path)
    if fd < 0:
        return None
    try:
        made = (form.created_ms_of(item.value) for item in jsonl.segments(fd) if item.value is not None)
        return next((ms for ms in made if ms is not None), None)
    finally:
        os.close(fd)


def _place(entry: Entry) -> tuple[int, int]:
    return entry.created_ms, entry.position


def _entry(log: MessageLog, message_id: MessageId) -> Entry:
    entry = log.by_id.get(message_id)
    if entry is None:
        raise NotFoundError(f"No message found with id '{message_id:.64}'.")
    return entry


def _index(log: MessageLog, entries: Sequence[Entry], message_id: str) -> int | None:
    entry = log.by_id.get(MessageId(message_id))
    if entry is None:
        return None
    index = bisect_left(entries, _place(entry), key=_place)
    return index if index < len(entries) and entries[index] is entry else None


def _value(fd: int, entry: Entry) -> JsonObject:
    value: JsonObject = orjson.loads(jsonl.read(fd, entry.segment))
    return value


def _read(thread_id: ThreadId, fd: int, entry: Entry) -> Message:
    return form.from_json(thread_id, entry.id, _value(fd, entry), entry.created_ms)


def _lines_without(fd: int, message_id: MessageId, instead: dict[int, bytes]) -> Iterator[bytes]:
    """The file's lines but for a message's own, or with other lines at the offsets in `instead`."""
    for segment in jsonl.segments(fd):
        if segment.offset in instead:
            yield instead[segment.offset]
        elif segment.value is None or form.id_of(segment.value) != message_id:
            yield jsonl.read(fd, segment) + b"\n"
