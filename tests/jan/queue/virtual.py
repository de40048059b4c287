"""The scripts under a clock that the test moves."""

from __future__ import annotations

from redis.asyncio import Redis

from jan.queue.scripts import Scripts

_KEY = "test:now"
_CLOCK = f"local function now_ms() return tonumber(redis.call('GET', '{_KEY}') or '0') end\n"


class VirtualTime:
    """Milliseconds that pass when the test says so."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.scripts = Scripts.register(redis, clock=_CLOCK)

    async def be(self, milliseconds: int) -> None:
        await self._redis.set(_KEY, milliseconds)
