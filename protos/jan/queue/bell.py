"""How workers hear of new and cancelled jobs without asking all the time.

The places in a stream are times by Redis's clock. One that was emptied, or put back to what it held earlier, and whose
clock went back as well, rings at places before those that a listener has heard already: it would hear nothing until the
clock has caught up. So in each silence a listener looks whether the stream ends before its place.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from jan import keys
from jan.backoff import Backoff
from jan.redis import StreamEntry, read_streams

# How long a listener may be deaf after Redis was emptied and its clock went back: a stop takes a second at most (P14).
IDLE_SECONDS = 0.5
_NOTHING = b"0-0"


class SignalKind(StrEnum):
    """What happened to the job."""

    SUBMITTED = "submitted"
    RELEASED = "released"
    CANCELLED = "cancelled"
    MISSED = "missed"
    """To no job that is named: Redis forgot the signals, and what was rung since is not known."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One thing that happened to one job."""

    kind: SignalKind
    job_id: str


class Bell:
    """Signals to workers, read from a stream, so none is missed while this process reads it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def listen(self, idle_seconds: float = IDLE_SECONDS) -> AsyncGenerator[list[Signal], None]:
        """Yield signals as they come; an empty list after `idle_seconds` without any, and after a reconnect.

        A listener looks at the queue itself whenever this yields, so a signal lost with Redis costs a pause only. Where
        some were lost for certain, it is told one that says so (`SignalKind.MISSED`). Never ends by itself, and never
        raises for a Redis that is away.
        """
        backoff = Backoff()
        place: bytes | None = None
        while True:
            try:
                if place is None:
                    place = await self._newest()
                reply = await read_streams(self._redis, {keys.BELL: place}, block_seconds=idle_seconds)
                newest = place if reply else await self._newest()
            except (RedisConnectionError, RedisTimeoutError, OSError):
                await backoff.wait()
                yield []
                continue
            backoff.reset()
            if _moment(newest) < _moment(place):
                place = newest
                yield [Signal(SignalKind.MISSED, "")]
                continue
            entries = [entry for _, stream in reply for entry in stream]
            if entries:
                place = entries[-1][0]
            yield [
                Signal(SignalKind(kind.decode()), job.decode()) for _, fields in entries for kind, job in fields.items()
            ]

    async def _newest(self) -> bytes:
        """The place of the newest signal, so that nothing rung between two reads is missed."""
        newest = cast(list[StreamEntry], await self._redis.xrevrange(keys.BELL, count=1))
        return newest[0][0] if newest else _NOTHING


def _moment(place: bytes) -> tuple[int, int]:
    """A place in the stream as it is compared: milliseconds, and how many came before in the same one."""
    milliseconds, _, count = place.partition(b"-")
    return int(milliseconds), int(count)
