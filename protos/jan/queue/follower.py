"""Following event logs: one blocked Redis read for all logs that this process follows.

A reader of its own for each log would cost a connection and a wake-up each; one read over many logs serves a
thousand streams from one connection, and events that come together are delivered together.
"""

from __future__ import annotations

import math
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Set
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
# How soon a reader that had enough before it is read for again.
CATCH_UP_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class LogBounds:
    """The first and the last event that a log holds, and whether it has ended. Without events both numbers are 0.

    generation: the log's own, see `LogEntry`; empty without events.
    """

    first: int
    last: int
    ended: bool
    generation: bytes = b""


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
