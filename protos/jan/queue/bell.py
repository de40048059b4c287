"""How workers hear of new and cancelled jobs without asking all the time."""

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


class SignalKind(StrEnum):
    """What happened to the job."""

    SUBMITTED = "submitted"
    RELEASED = "released"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Signal:
    """One thing that happened to one job."""

    kind: SignalKind
    job_id: str


class Bell:
    """Signals to workers, read from a stream, so none is missed while this process reads it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def listen(self, idle_seconds: float = 1.0) -> AsyncGenerator[list[Signal], None]:
        """Yield signals as they come; an empty list after `idle_seconds` without any, and after a reconnect.

        A listener looks at the queue itself whenever this yields, so a signal lost with Redis costs a pause only.
        Never ends by itself, and never raises for a Redis that is away.
        """
        backoff = Backoff()
        last: bytes | None = None
        while True:
            try:
                if last is None:
                    last = await self._newest()
                reply = await read_streams(self._redis, {keys.BELL: last}, block_seconds=idle_seconds)
            except (RedisConnectionError, RedisTimeoutError, OSError):
                await backoff.wait()
                yield []
                continue
            backoff.reset()
            entries = [entry for _, stream in reply for entry in stream]
            if entries:
                last = entries[-1][0]
            yield [
                Signal(SignalKind(kind.decode()), job.decode()) for _, fields in entries for kind, job in fields.items()
            ]

    async def _newest(self) -> bytes:
        """The id of the newest signal, so that nothing rung between two reads is missed."""
        newest = cast(list[StreamEntry], await self._redis.xrevrange(keys.BELL, count=1))
        return newest[0][0] if newest else b"0"
