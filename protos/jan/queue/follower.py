"""Following event logs: one blocked Redis read for all logs that this process follows.

A reader of its own for each log would cost a connection and a wake-up each; one read over many logs serves a
thousand streams from one connection, and events that come together are delivered together.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Set
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from jan import keys
from jan.backoff import Backoff
from jan.redis import StreamEntry, read_streams
from jan.tasks import background
from jan.telemetry import get_logger

logger = get_logger(__name__)

BLOCK_SECONDS = 1.0
READ_COUNT = 512
# A reader that does not read holds at most this much (docs/promises.md P13).
MAX_PENDING_BYTES = 1024 * 1024
# All readers of this process that do not read hold at most about this much together (docs/promises.md P13).
MAX_BACKLOG_BYTES = 16 * 1024 * 1024
# About what one read of all logs brings at most.
READ_BYTES = 2 * 1024 * 1024
# A reader that takes up a long log is read for once it has less than this before it: else it would be dropped for
# being slower than Redis.
CATCH_UP_BYTES = 64 * 1024
CATCH_UP_SECONDS = 0.05
# What a reader is given at once.
BATCH_BYTES = 16 * 1024


class SlowReaderError(Exception):
    """The reader fell too far behind and was dropped; it may follow again from the last number it saw."""


class LogRestartedError(Exception):
    """Redis forgot the log, or a part of it; what was read of it and what would follow are not one answer."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One event: its number (from 1), its payload, and whether it is the last of its log.

    `generation` is the log's own: another one means another log under the same id.
    """

    number: int
    generation: bytes
    payload: bytes
    ends: bool


@dataclass(frozen=True, slots=True)
class LogBounds:
    """The first and the last event that a log holds, and whether it has ended. Without events both numbers are 0.

    generation: the log's own, see `LogEntry`; empty without events.
    """

    first: int
    last: int
    ended: bool
    generation: bytes = b""


Sink = Callable[[list[LogEntry]], bool]
"""Takes entries at once and returns True; or takes nothing, and leaves them to the reader."""


@dataclass(slots=True)
class Backlog:
    """How many bytes the readers of one process have left unread, together."""

    held: int = 0


class LogSubscription:
    """One reader's place in one log."""

    def __init__(self, log_id: str, after: int, generation: bytes = b"", *, backlog: Backlog | None = None) -> None:
        """generation: of the log that `after` is a number of; empty when that makes no difference."""
        self.log_id = log_id
        self.cursor = after
        self.is_catching_up = True
        self._backlog = backlog or Backlog()
        self._sink: Sink | None = None
        self._clock = asyncio.get_running_loop().time
        self._heard_at = self._clock()
        self._pending: list[LogEntry] = []
        self._pending_bytes = 0
        self._generation = generation
        self._failure: type[SlowReaderError | LogRestartedError] | None = None
        self._arrived = asyncio.Event()

    @property
    def is_dropped(self) -> bool:
        """Whether nothing more will be delivered."""
        return self._failure is not None

    @property
    def pending_bytes(self) -> int:
        """How much was delivered and is not read yet."""
        return self._pending_bytes

    @property
    def has_enough(self) -> bool:
        """Whether what comes next may wait in Redis until it has read more."""
        return self.is_catching_up and self._pending_bytes > CATCH_UP_BYTES

    def reach_end(self) -> None:
        """All that the log holds was delivered: from now on what is left unread counts, once it has read that."""
        if self._pending_bytes <= CATCH_UP_BYTES:
            self.is_catching_up = False

    def drop(self) -> None:
        """Deliver nothing more, and give up what was left unread: it can be read from the log again."""
        self._failure = self._failure or SlowReaderError
        self.give_up()
        self._arrived.set()

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
        may_hold = self.is_catching_up or self._pending_bytes + arriving <= MAX_PENDING_BYTES
        if self._pending and not may_hold:
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
        is_next = not self._generation or (entry.generation == self._generation and entry.number == self.cursor + 1)
        if not is_next:
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
        while True:
            try:
                async with asyncio.timeout_at(self._heard_at + idle_seconds):
                    await self._arrived.wait()
            except TimeoutError:
                if self._clock() >= self._heard_at + idle_seconds:  # else a sink was given something meanwhile
                    self._heard_at = self._clock()
                    yield []
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
        return batch


class _ReadSize:
    """How many entries of each log one read may bring, going by the longest of those that were read last."""

    def __init__(self) -> None:
        self._most = READ_COUNT
        self._entry_bytes = 1

    def count(self, logs: int) -> int:
        """At least one."""
        return max(1, min(self._most, READ_BYTES // (self._entry_bytes * logs)))

    def saw(self, reply: list[tuple[str, list[StreamEntry]]]) -> None:
        """A read brought this."""
        self._most = min(READ_COUNT, 2 * self._most)
        sizes = [len(fields[b"p"]) for _, entries in reply for _, fields in entries if b"p" in fields]
        # Logs of short and of long entries are read together: one reply of short ones says nothing of the next.
        self._entry_bytes = max(1, self._entry_bytes // 2, *sizes)

    def failed(self) -> None:
        """A read's reply may have been more than comes in time: asking for as much again would fail for ever."""
        self._most = max(1, self._most // 4)


class LogFollower:
    """Follows any number of logs over one connection; made once for a process, run by `running`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._poke_key = keys.poke(secrets.token_hex(8))
        self._subscriptions: dict[str, set[LogSubscription]] = defaultdict(set)
        self._catching_up: set[LogSubscription] = set()
        self._backlog = Backlog()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read in the background while the context is open."""
        async with background(self._read_for_ever(), "log-follower"):
            yield

    async def bounds(self, log_id: str) -> LogBounds:
        """What a log holds now. Raises redis.RedisError: Redis does not answer."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.xrange(keys.log(log_id), count=1)
            pipeline.xrevrange(keys.log(log_id), count=1)
            oldest, newest = cast(tuple[list[StreamEntry], list[StreamEntry]], await pipeline.execute())
        if not oldest or not newest:
            return LogBounds(0, 0, ended=False)
        number, fields = newest[0]
        return LogBounds(_number(oldest[0][0]), _number(number), b"e" in fields, fields[b"g"])

    @asynccontextmanager
    async def follow(
        self, log_id: str, *, after: int = 0, generation: bytes = b"", waits_for_redis: bool = False
    ) -> AsyncIterator[LogSubscription]:
        """Follow a log from just after a number; it may not exist yet.

        generation: follow the log of that one alone; another under the same id is `LogRestartedError`.
        waits_for_redis: follow it once Redis answers again; else redis.RedisError is raised when the follower could
        not be told, and nothing is followed.
        """
        subscription = LogSubscription(log_id, after, generation, backlog=self._backlog)
        self._subscriptions[keys.log(log_id)].add(subscription)
        self._catching_up.add(subscription)
        try:
            try:
                await self._poke()
            except (RedisError, OSError):
                if not waits_for_redis:
                    raise  # else the next read finds it by itself, after a second at most
            yield subscription
        finally:
            self._forget(subscription)

    def _forget(self, subscription: LogSubscription) -> None:
        key = keys.log(subscription.log_id)
        subscription.give_up()
        self._catching_up.discard(subscription)
        self._subscriptions[key].discard(subscription)
        if not self._subscriptions[key]:
            del self._subscriptions[key]

    async def _poke(self) -> None:
        """Wake the blocked read, so that it takes the new log in."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.xadd(self._poke_key, {"n": ""}, maxlen=1, approximate=False)
            pipeline.expire(self._poke_key, keys.IDLE_TTL_SECONDS)
            await pipeline.execute()

    async def _read_for_ever(self) -> None:
        backoff = Backoff()
        poked: bytes | str = "0"
        size = _ReadSize()
        while True:
            starts, somebody_waits = self._starts()
            cursors: dict[str, bytes | str] = {self._poke_key: poked}
            cursors |= {key: f"{start}-0" for key, start in starts.items()}
            try:
                count = size.count(len(cursors))
                block_seconds = CATCH_UP_SECONDS if somebody_waits else BLOCK_SECONDS
                reply = await read_streams(self._redis, cursors, block_seconds=block_seconds, count=count)
                size.saw(reply)
                self._drop_slowest()
                poked = self._distribute(reply, starts, poked)
                self._tell_ends(starts, {key for key, entries in reply if len(entries) >= count})
                backoff.reset()
            except (RedisError, OSError) as error:
                size.failed()
                logger.warning("log reader lost Redis", error=str(error))
                await backoff.wait()
            except Exception:  # every open stream depends on this loop: it outlives a mistake
                logger.exception("log reader failed")
                await backoff.wait()

    def _starts(self) -> tuple[dict[str, int], bool]:
        """From where to read each log, and whether a reader has enough before it for now."""
        starts: dict[str, int] = {}
        somebody_waits = False
        for key, subscriptions in self._subscriptions.items():
            going_on = [subscription for subscription in subscriptions if not subscription.is_dropped]
            reading = [subscription.cursor for subscription in going_on if not subscription.has_enough]
            somebody_waits |= len(reading) < len(going_on)
            if reading:
                starts[key] = min(reading)
        return starts, somebody_waits

    def _tell_ends(self, starts: Mapping[str, int], unfinished: Set[str]) -> None:
        """Tell those who were catching up that there is no more; `unfinished` logs may hold more than was read."""
        for subscription in list(self._catching_up):
            key = keys.log(subscription.log_id)
            if key not in unfinished and subscription.cursor >= starts.get(key, math.inf):
                subscription.reach_end()
            if not subscription.is_catching_up:
                self._catching_up.discard(subscription)

    def _drop_slowest(self) -> None:
        """Let those go who left most unread, as long as all together hold too much; others had a turn to read."""
        while self._backlog.held > MAX_BACKLOG_BYTES:
            readers = (reader for readers in self._subscriptions.values() for reader in readers)
            max(readers, key=lambda reader: reader.pending_bytes).drop()

    def _distribute(
        self, reply: list[tuple[str, list[StreamEntry]]], starts: dict[str, int], poked: bytes | str
    ) -> bytes | str:
        """Deliver what was read; returns the id of the newest poke."""
        for key, raw_entries in reply:
            if key == self._poke_key:
                poked = raw_entries[-1][0]
            else:
                self._deliver(key, raw_entries, starts[key])
        return poked

    def _deliver(self, key: str, raw_entries: list[StreamEntry], start: int) -> None:
        """Hand over what was read of a log from just after `start`.

        A reader that came while the read was under way may want what lies before that: it waits for the next read.
        """
        entries = [
            LogEntry(_number(raw_id), fields[b"g"], fields[b"p"], b"e" in fields) for raw_id, fields in raw_entries
        ]
        for subscription in self._subscriptions.get(key, ()):
            if subscription.cursor >= start and not subscription.has_enough:
                subscription.deliver(entries)


def _number(raw_id: bytes) -> int:
    return int(raw_id.partition(b"-")[0])
