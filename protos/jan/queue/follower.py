"""Following event logs: one blocked Redis read for all logs that this process follows.

A reader of its own for each log would cost a connection and a wake-up each; one read over many logs serves a
thousand streams from one connection, and events that come together are delivered together.
"""

from __future__ import annotations

import itertools
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from jan import keys
from jan.backoff import Backoff
from jan.queue.subscription import Backlog, LogEntry, LogSubscription
from jan.redis import StreamEntry, read_streams
from jan.tasks import background
from jan.telemetry import get_logger

logger = get_logger(__name__)

BLOCK_SECONDS = 1.0
READ_COUNT = 512
# All readers of this process that do not read hold at most about this much together (docs/promises.md P13).
MAX_BACKLOG_BYTES = 16 * 1024 * 1024
# About what one read of all logs brings at most.
READ_BYTES = 2 * 1024 * 1024
# About what a reader of its own past is given of it at once.
PAGE_BYTES = 64 * 1024
# What is taken for the length of an entry as long as only shorter ones were seen: the next may be longer.
ENTRY_BYTES = 1024


@dataclass(frozen=True, slots=True)
class LogBounds:
    """The first and the last event that a log holds, and whether it has ended. Without events both numbers are 0.

    generation: of the event that was asked for, see `LogEntry`; empty when it is not there.
    """

    first: int
    last: int
    ended: bool
    generation: bytes = b""


class _ReadSize:
    """How many entries of each log one read may bring, going by the longest of those that were read last."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._most = READ_COUNT
        self._entry_bytes = ENTRY_BYTES

    def count(self, logs: int = 1) -> int:
        """At least one."""
        return max(1, min(self._most, self._most_bytes // (self._entry_bytes * logs)))

    def saw(self, reply: Iterable[list[StreamEntry]]) -> None:
        """A read brought these."""
        self._most = min(READ_COUNT, 2 * self._most)
        sizes = [len(fields[b"p"]) for entries in reply for _, fields in entries if b"p" in fields]
        if sizes:
            # Logs of short and of long entries are read together: one reply of short ones says little of the next.
            self._entry_bytes = max(ENTRY_BYTES, self._entry_bytes // 2, *sizes)

    def failed(self) -> None:
        """A read's reply may have been more than comes in time: asking for as much again would fail for ever."""
        self._most = max(1, self._most // 4)


class LogFollower:
    """Follows any number of logs over one connection; made once for a process, run by `running`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._poke_key = keys.poke(secrets.token_hex(8))
        # Not Redis's clock: one that goes back would have pokes wake nobody, once Redis was emptied.
        self._pokes = itertools.count(1)
        self._subscriptions: dict[str, set[LogSubscription]] = defaultdict(set)
        self._new: set[LogSubscription] = set()
        """Those of which it is not known yet whether their logs hold more than should be delivered."""
        self._backlog = Backlog()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read in the background while the context is open."""
        async with background(self._read_for_ever(), "log-follower"):
            yield

    async def bounds(self, log_id: str, *, after: int = 0) -> LogBounds:
        """What a log holds now, and the generation of its event `after`, or of its first one for 0.

        Raises redis.RedisError: Redis does not answer.
        """
        key, place = keys.log(log_id), f"{max(1, after)}-0"
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.xrange(key, count=1)
            pipeline.xrevrange(key, count=1)
            pipeline.xrange(key, min=place, max=place)
            oldest, newest, asked = cast(list[list[StreamEntry]], await pipeline.execute())
        if not oldest or not newest:
            return LogBounds(0, 0, ended=False)
        number, fields = newest[0]
        generation = asked[0][1][b"g"] if asked else b""
        return LogBounds(_number(oldest[0][0]), _number(number), b"e" in fields, generation)

    async def holds(self, subscription: LogSubscription) -> bool:
        """Whether its log still holds what was delivered last: else nothing will follow that.

        A Redis that came back with what it held earlier may have forgotten it. Raises redis.RedisError.
        """
        cursor, generation = subscription.cursor, subscription.generation
        if not cursor or not generation:
            return True
        bounds = await self.bounds(subscription.log_id, after=cursor)
        return bounds.last >= cursor and bounds.generation in (generation, b"")

    @asynccontextmanager
    async def follow(
        self,
        log_id: str,
        *,
        after: int = 0,
        generation: bytes = b"",
        waits_for_redis: bool = False,
        gathers: bool = False,
    ) -> AsyncIterator[LogSubscription]:
        """Follow a log from just after a number; it may not exist yet.

        generation: of the event `after`, or of the first one for 0, which what is read must go on with; else that is
        `LogRestartedError`.
        waits_for_redis: follow it once Redis answers again; else redis.RedisError is raised when the follower could
        not be told, and nothing is followed.
        gathers: the reader keeps all that is delivered until the log ends, as for a whole answer: it waits for no
        client, so it is never dropped, and what it leaves unread for a moment drops nobody else.
        """
        backlog = None if gathers else self._backlog
        subscription = LogSubscription(log_id, after, generation, backlog=backlog, gathers=gathers)
        self._subscriptions[keys.log(log_id)].add(subscription)
        self._new.add(subscription)
        try:
            try:
                if await self._poke(log_id) > after:
                    self._let_take_up(subscription)
            except (RedisError, OSError):
                if not waits_for_redis:
                    raise  # else the next read finds it by itself, after a second at most
            self._new.discard(subscription)
            yield subscription
        finally:
            subscription.give_up()
            self._new.discard(subscription)
            self._leave(subscription)

    def _let_take_up(self, subscription: LogSubscription) -> None:
        """Have a reader read for itself what its log holds already, and follow it from there on.

        All logs are read at once from where their readers are, and what was read is delivered whether they read it or
        not: whoever took up a long log by that would be dropped for being slower than Redis, or keep others waiting.
        """
        size = _ReadSize(PAGE_BYTES)

        async def next_page(after: int) -> list[LogEntry]:
            key, count = keys.log(subscription.log_id), size.count()
            try:
                raw_entries = cast(
                    list[StreamEntry], await self._redis.xrange(key, min=f"({after}-0", count=count) or []
                )
                size.saw([raw_entries])
                if raw_entries:
                    return _entries(raw_entries)
                self._subscriptions[key].add(subscription)
                await self._poke(subscription.log_id)
            except (RedisError, OSError) as error:
                logger.warning("log not read further", error=str(error))
                self._subscriptions[key].add(subscription)  # the next read of all goes on
            return []

        self._leave(subscription)
        subscription.take_up(next_page)

    def _leave(self, subscription: LogSubscription) -> None:
        key = keys.log(subscription.log_id)
        self._subscriptions[key].discard(subscription)
        if not self._subscriptions[key]:
            del self._subscriptions[key]

    async def _poke(self, log_id: str) -> int:
        """Wake the blocked read, so that it takes the new log in; the number of the log's last event, 0 without any."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            # Two may come in the wrong order, and each must be taken: the later one woke the read for both.
            pipeline.delete(self._poke_key)
            pipeline.xadd(self._poke_key, {"n": ""}, id=f"{next(self._pokes)}-0")
            pipeline.expire(self._poke_key, keys.IDLE_TTL_SECONDS)
            pipeline.xrevrange(keys.log(log_id), count=1)
            *_, newest = await pipeline.execute()
        return _number(newest[0][0]) if newest else 0

    async def _read_for_ever(self) -> None:
        backoff = Backoff()
        poked: bytes | str = "0"
        size = _ReadSize(READ_BYTES)
        while True:
            starts: dict[str, int] = {}
            for key, subscriptions in self._subscriptions.items():
                reading = [subscription.cursor for subscription in subscriptions if not subscription.is_dropped]
                if reading:
                    starts[key] = min(reading)
            cursors: dict[str, bytes | str] = {self._poke_key: poked}
            cursors |= {key: f"{start}-0" for key, start in starts.items()}
            try:
                count = size.count(len(cursors))
                reply = await read_streams(self._redis, cursors, block_seconds=BLOCK_SECONDS, count=count)
                size.saw(entries for _, entries in reply)
                self._drop_slowest()
                poked = self._distribute(reply, starts, poked)
                backoff.reset()
            except (RedisError, OSError) as error:
                size.failed()
                logger.warning("log reader lost Redis", error=str(error))
                await backoff.wait()
            except Exception:  # every open stream depends on this loop: it outlives a mistake
                logger.exception("log reader failed")
                await backoff.wait()

    def _drop_slowest(self) -> None:
        """Let those go who have read nothing for longest, as long as all together hold too much."""
        if self._backlog.held <= MAX_BACKLOG_BYTES:
            return
        readers = [reader for readers in self._subscriptions.values() for reader in readers if not reader.gathers]
        for reader in sorted(readers, key=lambda reader: reader.waiting_seconds, reverse=True):
            if self._backlog.held <= MAX_BACKLOG_BYTES:
                break
            reader.drop()

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
        entries = _entries(raw_entries)
        for subscription in self._subscriptions.get(key, ()):
            if subscription.cursor >= start and subscription not in self._new:
                subscription.deliver(entries)


def _entries(raw_entries: list[StreamEntry]) -> list[LogEntry]:
    return [
        LogEntry(_number(raw_id), fields[b"g"], fields[b"p"], b"e" in fields, fields.get(b"b", b""))
        for raw_id, fields in raw_entries
    ]


def _number(raw_id: bytes) -> int:
    return int(raw_id.partition(b"-")[0])
