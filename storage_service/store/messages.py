"""Messages: the lines of a thread's messages.jsonl, appended oldest first."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import orjson

from jan.errors import JanError, NotFoundError, StorageFullError
from jan.ids import MessageId, ThreadId
from storage_service.store import atomic, jsonl, layout, message_index
from storage_service.store.batch import Batch, KnownRuns
from storage_service.store.clock import Clock
from storage_service.store.forms import fields
from storage_service.store.forms import messages as form
from storage_service.store.jsonl import Segment
from storage_service.store.log import Log, LogCache, in_memory, reading
from storage_service.store.message_index import MessageIndex
from storage_service.store.paging import Page, PageQuery, cut
from storage_service.store.records import Appended, JsonObject, Message
from storage_service.store.revisions import check_revision, revision_of
from storage_service.store.signature import Signature, digest

Appending = list[Message] | JanError
"""What became of a request to append: its messages as stored, or why none of them was added."""

# A file of this length, some 1,000 messages, is read in 10 ms; a longer one gets a sidecar.
_SIDECAR_BYTES = 256 * 1024


class MessageHome(Protocol):
    """What messages need to know of threads; see `Threads`."""

    def folder(self, thread_id: ThreadId) -> Path:
        """The folder of a thread that exists, to read from. Raises NotFoundError."""

    def own_folder(self, thread_id: ThreadId) -> Path:
        """The same to write into."""

    def messages_inside(self, thread_id: ThreadId) -> bytes:
        """The lines that stand in for a file that is not there."""


class MessageLog(Log):
    """The index of one messages.jsonl. That of a long file is kept in `sidecar`, so that opening it reads no line.

    `inside` gives the lines of a thread that has no such file yet: they are read as if they lay in one.
    """

    def __init__(self, path: Path, quarantine: Path, sidecar: Path, inside: Callable[[], bytes]) -> None:
        super().__init__(path, quarantine)
        self._sidecar = sidecar
        self._inside = inside
        self._saved: Signature | None = None
        self.index = MessageIndex()

    def __len__(self) -> int:
        return len(self.index)

    def find(self) -> tuple[int, Signature]:
        """See Log."""
        fd, seen = super().find()
        if fd >= 0:
            return fd, seen
        lines = self._inside()
        # Without lines the file may have been made in between.
        return (in_memory(lines), (-1, len(lines), hash(lines), 0)) if lines else super().find()

    def forget(self) -> None:
        """See Log."""
        self.index = MessageIndex()

    def take(self, segment: Segment, value: JsonObject) -> bool:
        """See Log. A line without an id cannot be addressed and is left alone."""
        message_id = form.id_of(value)
        if message_id is None:
            return False
        self.index.put(message_id, form.created_ms_of(value), fields.text(value, "run_id"), segment)
        return True

    def recall(self, seen: Signature) -> bool:
        """See Log."""
        if not _has_sidecar(seen):
            return False
        kept = message_index.load(self._sidecar, seen)
        if kept is None:
            return False
        self.index, self.unreadable = kept
        self._saved = seen
        return True

    def save(self) -> None:
        """Keep the index of a long file, unless it is kept as it is."""
        with self.open():
            seen = self.seen
            if seen is not None and _has_sidecar(seen) and seen != self._saved:
                message_index.save(self._sidecar, self.index, seen, self.unreadable)
                self._saved = seen


class Messages:
    """Append, read, list, change and delete a thread's messages.

    `runs` gives what is known of a thread's runs.
    """

    def __init__(
        self,
        threads: MessageHome,
        runs: Callable[[ThreadId], KnownRuns],
        where: layout.Layout,
        clock: Clock,
    ) -> None:
        self._threads = threads
        self._runs = runs
        self._clock = clock
        # Hears of every change of a thread's messages made here, with the messages when they were appended.
        self.on_change: Callable[[ThreadId, Appended | None], None] = _nobody
        self.logs = LogCache(
            lambda thread_id: MessageLog(
                threads.folder(thread_id) / layout.MESSAGES_FILE,
                where.quarantine,
                where.messages_index(thread_id),
                lambda: threads.messages_inside(thread_id),
            )
        )

    def append(self, thread_id: ThreadId, messages: Sequence[Message]) -> list[Message]:
        """Add messages at the end of a thread, in one write; answers them as stored.

        Durable on return: the lines are fsynced, and for a new file its folder too. A message whose id the thread
        has is not added again. Times are the store's, but for that at which an answer was begun, and never decrease
        within the thread.
        Raises NotFoundError: no such thread. FailedPreconditionError: a run holds the thread, and a message is
        not that run's, or its run is none of the thread's (`unknown_run`). TooLargeError.
        StorageFullError: no room, and the file is as it was before.
        """
        [outcome] = self.append_each(thread_id, [messages])
        if isinstance(outcome, JanError):
            raise outcome
        return outcome

    def append_each(self, thread_id: ThreadId, requests: Sequence[Sequence[Message]]) -> list[Appending]:
        """Do what `append` does for several requests in turn, in one write and one fsync.

        Answers for each its messages, or the error for which none of them was added: one request's error is no
        other's. When there is no room for all of them, those are added that fit. Raises NotFoundError.
        """
        try:
            return self._append_each(thread_id, requests)
        except StorageFullError as error:
            if len(requests) == 1:
                return [error.with_traceback(None)]
            return [outcome for request in requests for outcome in self.append_each(thread_id, [request])]

    def _append_each(self, thread_id: ThreadId, requests: Sequence[Sequence[Message]]) -> list[Appending]:
        self.make_file(thread_id)
        log = self.logs.get(thread_id)
        with log.open() as fd:
            batch = Batch(thread_id, log.index, self._runs(thread_id), self._clock())
            refusals = [batch.add(messages) for messages in requests]
            # Before the file grows: those that are there already.
            stored = {message_id: _read(thread_id, fd, log, ordinal) for message_id, ordinal in batch.known.items()}
            if batch.lines:
                before = log.seen
                log.append(batch.lines)
                self.on_change(thread_id, _appended(before, log.seen, batch.messages.values()))
            stored |= batch.messages
            return [
                refusal or [stored[message.id] for message in messages]
                for refusal, messages in zip(refusals, requests, strict=True)
            ]

    def get(self, thread_id: ThreadId, message_id: MessageId) -> Message:
        """Read a message. Raises NotFoundError."""
        self._threads.folder(thread_id)
        log = self.logs.get(thread_id)
        with log.open() as fd:
            return _read(thread_id, fd, log, _ordinal(log, message_id))

    def page(self, thread_id: ThreadId, query: PageQuery, run_id: str = "") -> Page[Message]:
        """One page of a thread's messages in order of creation, or of those that one run wrote.

        Large messages make it shorter, see `paging.cut`.

        Raises NotFoundError: no such thread. InvalidArgumentError: see `paging.cut`.
        """
        self._threads.folder(thread_id)
        log = self.logs.get(thread_id)
        with log.open() as fd:
            order = log.index.order(run_id)
            lengths = log.index.lengths
            page = cut(order, query, lambda message_id: log.index.find(order, message_id), lengths.__getitem__)
            return Page(tuple(_read(thread_id, fd, log, ordinal) for ordinal in page.items), page.has_more)

    def change(
        self,
        thread_id: ThreadId,
        message_id: MessageId,
        change: Callable[[Message], Message],
        if_revision: Collection[str] = (),
    ) -> Message:
        """Rewrite one line with what `change` makes of the message; id, thread and creation time stay.

        Every other line stays byte for byte, readable or not, and so does what somebody else writes meanwhile.
        Durable on return. Raises NotFoundError, StorageFullError. PreconditionFailedError: the message's revision is
        none of `if_revision`.
        """
        return atomic.again_if_changed(lambda: self._change(thread_id, message_id, change, if_revision))

    def _change(
        self,
        thread_id: ThreadId,
        message_id: MessageId,
        change: Callable[[Message], Message],
        if_revision: Collection[str],
    ) -> Message:
        self.make_file(thread_id)
        log = self.logs.get(thread_id)
        with log.open() as fd:
            ordinal = _ordinal(log, message_id)
            before = _read(thread_id, fd, log, ordinal)
            check_revision(before.revision, if_revision)
            after = replace(change(before), id=before.id, thread_id=thread_id, created_ms=before.created_ms)
            line = jsonl.encode(form.change(_value(fd, log, ordinal), before, after, self._clock()))
            log.replace(_lines_without(fd, message_id, {log.index.offsets[ordinal]: line}))
            self.on_change(thread_id, None)
            return replace(after, revision=revision_of(line[:-1]))

    def delete(self, thread_id: ThreadId, message_id: MessageId, if_revision: Collection[str] = ()) -> None:
        """Take a message's line out of the file. Durable on return. Raises as `change` does."""
        atomic.again_if_changed(lambda: self._delete(thread_id, message_id, if_revision))

    def _delete(self, thread_id: ThreadId, message_id: MessageId, if_revision: Collection[str]) -> None:
        self.make_file(thread_id)
        log = self.logs.get(thread_id)
        with log.open() as fd:
            message = _read(thread_id, fd, log, _ordinal(log, message_id))
            check_revision(message.revision, if_revision)
            log.replace(_lines_without(fd, message_id, {}))
            self.on_change(thread_id, None)

    def save_indexes(self) -> None:
        """Keep the indexes of long files for the next start."""
        for log in self.logs.all():
            log.save()

    def make_file(self, thread_id: ThreadId) -> None:
        """See that a thread that is about to be written has the messages of its draft in a file of their own."""
        path = self._threads.own_folder(thread_id) / layout.MESSAGES_FILE
        if not os.path.lexists(path):
            lines = self._threads.messages_inside(thread_id)
            if lines:
                atomic.replace(path, [lines])


def _has_sidecar(seen: Signature) -> bool:
    """Whether a file is a long one; lines inside a thread's own file are in none."""
    return seen[0] >= 0 and seen[1] >= _SIDECAR_BYTES


def _nobody(thread_id: ThreadId, appended: Appended | None) -> None:
    """Hears of changed messages until the search index does."""


def _appended(before: Signature | None, after: Signature | None, messages: Iterable[Message]) -> Appended | None:
    if before is None or after is None:
        return None
    return Appended(digest(before), digest(after), tuple(messages))


def first_ms(path: Path) -> int | None:
    """When the first message of a file was made, if there is one that says so."""
    with reading(path) as fd:
        if fd < 0:
            return None
        made = (form.created_ms_of(item.value) for item in jsonl.segments(fd) if item.value is not None)
        return next((ms for ms in made if ms is not None), None)


def _ordinal(log: MessageLog, message_id: MessageId) -> int:
    ordinal = log.index.ordinal(message_id)
    if ordinal is None:
        raise NotFoundError(f"No message found with id '{message_id:.64}'.")
    return ordinal


def _value(fd: int, log: MessageLog, ordinal: int) -> JsonObject:
    value: JsonObject = orjson.loads(jsonl.read(fd, log.index.segment(ordinal)))
    return value


def _read(thread_id: ThreadId, fd: int, log: MessageLog, ordinal: int) -> Message:
    line = jsonl.read(fd, log.index.segment(ordinal))
    raw = orjson.loads(line)
    message_id = form.id_of(raw) or MessageId(log.index.ids[ordinal])
    message = form.from_json(thread_id, message_id, raw, log.index.created[ordinal])
    return replace(message, revision=revision_of(line))


def _lines_without(fd: int, message_id: MessageId, instead: dict[int, bytes]) -> Iterator[bytes]:
    """The file's lines but for a message's own, or with other lines at the offsets in `instead`."""
    for segment in jsonl.segments(fd):
        if segment.offset in instead:
            yield instead[segment.offset]
        elif segment.value is None or form.id_of(segment.value) != message_id:
            yield jsonl.read(fd, segment) + b"\n"
