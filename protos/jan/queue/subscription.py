"""One reader's place in one log, and what was delivered to it and not read yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass

# A reader that does not read holds at most this much (docs/promises.md P13).
MAX_PENDING_BYTES = 1024 * 1024
# What a reader is given at once.
BATCH_BYTES = 16 * 1024


class SlowReaderError(Exception):
    """The reader fell too far behind and was dropped; it may follow again from the last number it saw."""


class LogRestartedError(Exception):
    """Redis forgot the log, or a part of it; what was read of it and what would follow are not one answer."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One event: its number (from 1), its payload, and whether it is the last of its log.

    generation: of whoever wrote it. Another one goes on with the same answer only where its first event, at the place
    that it should have, names the `generation` before it, and that is the one which was read last. Else the log is
    another one under the same id, or one whose end was lost and written anew.
    """

    number: int
    generation: bytes
    payload: bytes
    ends: bool
    behind: bytes = b""


Sink = Callable[[list[LogEntry]], bool]
"""Takes entries at once and returns True; or takes nothing, and leaves them to the reader."""


NextPage = Callable[[int], Awaitable[list[LogEntry]]]
"""What a log holds behind a number, a piece of it at a time; nothing at its end, behind which more may be delivered."""


@dataclass(slots=True)
class Backlog:
    """How many bytes the readers of one process have left unread, together."""

    held: int = 0


class LogSubscription:
    """One reader's place in one log."""

    def __init__(
        self,
        log_id: str,
        after: int,
        generation: bytes = b"",
        *,
        backlog: Backlog | None = None,
        gathers: bool = False,
    ) -> None:
        """generation: of the event `after`, or of the first one for 0; empty when that makes no difference.

        gathers: see `LogFollower.follow`.
        """
        self.log_id = log_id
        self.cursor = after
        self.gathers = gathers
        self._backlog = backlog or Backlog()
        self._next_page: NextPage | None = None
        self._sink: Sink | None = None
        self._clock = asyncio.get_running_loop().time
        self._heard_at = self._waits_since = self._clock()
        self._pending: list[LogEntry] = []
        self._pending_bytes = 0
        self._generation = generation
        self._failure: type[SlowReaderError | LogRestartedError] | None = None
        self._arrived = asyncio.Event()
        self.on_drop: Callable[[], None] | None = None
        """Called when this is dropped, for a reader that cannot hear of it yet because it is still writing."""

    @property
    def is_dropped(self) -> bool:
        """Whether nothing more will be delivered."""
        return self._failure is not None

    @property
    def pending_bytes(self) -> int:
        """How much was delivered and is not read yet."""
        return self._pending_bytes

    @property
    def generation(self) -> bytes:
        """Of the event at the cursor; empty when none is known."""
        return self._generation

    @property
    def waiting_seconds(self) -> float:
        """For how long something was there to read, and nothing was read; 0 when nothing is."""
        return self._clock() - self._waits_since if self._pending else 0.0

    def take_up(self, next_page: NextPage) -> None:
        """Read what the log holds already page by page, as fast as the reader reads, before what is delivered."""
        self._next_page = next_page

    def drop(self) -> None:
        """Deliver nothing more, and give up what was left unread: it can be read from the log again."""
        self._failure = self._failure or SlowReaderError
        self.give_up()
        self._arrived.set()
        if self.on_drop is not None:
            self.on_drop()

    def give_up(self) -> None:
        """Hold nothing any more."""
        self._pending = []
        self._hold(-self._pending_bytes)

    def _hold(self, more: int) -> None:
        self._pending_bytes += more
        self._backlog.held += more

    def deliver(self, entries: list[LogEntry]) -> None:
        """Hand over entries; those at or before the cursor were delivered already.

        A reader that has left something unread and would hold too much is dropped, and what it left is given up: it
        can be read from the log again.
        """
        fresh = [entry for entry in entries if entry.number > self.cursor]
        arriving = sum(len(entry.payload) for entry in fresh)
        if not self._pending:
            self._waits_since = self._clock()
        elif not self.gathers and self._pending_bytes + arriving > MAX_PENDING_BYTES:
            self.drop()
        for entry in fresh:
            if self._failure is None:
                self._take(entry)
        self._heard_at = self._clock()
        poured = False
        try:
            poured = self._pour()
        finally:
            if not poured:
                self._arrived.set()

    def _take(self, entry: LogEntry) -> None:
        goes_on = self._generation in (entry.generation, entry.behind) and entry.number == self.cursor + 1
        if self._generation and not goes_on:
            self._failure = LogRestartedError
            return
        self._generation = entry.generation
        self.cursor = entry.number
        self._pending.append(entry)
        self._hold(len(entry.payload))

    @contextmanager
    def pouring(self, sink: Sink) -> Iterator[None]:
        """Offer what comes to a sink first, without waking the reader, whose task costs more than most sinks do."""
        self._sink = sink
        try:
            yield
        finally:
            self._sink = None

    def _pour(self) -> bool:
        """Whether the sink took all that is pending. What the reader was woken for already stays his."""
        if self._sink is None or self._failure is not None or self._arrived.is_set() or not self._pending:
            return False
        if not self._sink(self._pending):
            return False
        self.give_up()
        return True

    async def batches(self, idle_seconds: float) -> AsyncGenerator[list[LogEntry], None]:
        """Yield entries in order as they come, those that came together as one list; ends after the last of the log.

        Yields an empty list after `idle_seconds` of silence. Raises SlowReaderError, LogRestartedError: see there.
        """
        self._heard_at = self._clock()
        async with aclosing(self._taken_up()) as taken_up:
            async for batch in taken_up:
                yield batch
                if batch[-1].ends:
                    return
        while True:
            try:
                async with asyncio.timeout_at(self._heard_at + idle_seconds):
                    await self._arrived.wait()
            except TimeoutError:
                if self._clock() >= self._heard_at + idle_seconds:  # else a sink was given something meanwhile
                    yield []
                    self._heard_at = self._clock()  # not before: who tells of it tells no more often than that
                continue
            batch = self._next_batch()
            if batch:
                yield batch
                if batch[-1].ends:
                    return
            if self._pending:
                continue
            if self._failure is not None:
                raise self._failure(self.log_id)
            self._arrived.clear()

    async def _taken_up(self) -> AsyncGenerator[list[LogEntry], None]:
        """What the log held before it was followed."""
        while self._next_page is not None:
            while batch := self._next_batch():
                yield batch
            page = await self._next_page(self.cursor)
            if not page:
                self._next_page = None
            self.deliver(page)
            if self._failure is not None:
                return

    def _next_batch(self) -> list[LogEntry]:
        """What to hand over next: at least one entry if there is any, and not much more than BATCH_BYTES.

        A reader in the middle of a slow write holds a batch, in several copies, beside what is pending here.
        """
        count = size = 0
        while count < len(self._pending) and size < BATCH_BYTES:
            size += len(self._pending[count].payload)
            count += 1
        batch, self._pending = self._pending[:count], self._pending[count:]
        self._hold(-size)
        self._waits_since = self._clock()
        return batch
