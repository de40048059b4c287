"""The queue's atomic steps, as Lua scripts run by Redis.

Before each script stand the names and bounds of `jan.keys` and the functions of `_shares.lua`, so that both are written
once, and the clock that it reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Self

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from jan import keys
from jan.queue.trips import Trips

_SOURCES = {
    script.name.removesuffix(".lua"): script.read_text(encoding="utf-8")
    for script in files("jan.queue").joinpath("scripts").iterdir()
}
REDIS_CLOCK = _SOURCES["_clock"]


def _constants() -> str:
    """The constants of `jan.keys` as Lua locals."""
    values = {name: value for name, value in vars(keys).items() if name.isupper()}
    return "".join(
        f"local {name} = '{value}'\n" if isinstance(value, str) else f"local {name} = {value}\n"
        for name, value in values.items()
    )


class Script:
    """One atomic step. Called, it is one round trip, shared with others that are called meanwhile."""

    def __init__(self, trips: Trips, source: str) -> None:
        self._trips = trips
        self._source = source
        self._sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: Sequence[str] = (), args: Sequence[str | bytes | float] = ()) -> Any:
        """Run it; loads itself into a server that does not know it. Raises redis.RedisError: unknown whether it ran."""
        command = (len(keys), *keys, *args)
        try:
            return await self._trips.ask("EVALSHA", self._sha, *command)
        except NoScriptError:
            return await self._trips.ask("EVAL", self._source, *command)


@dataclass(frozen=True, slots=True)
class Scripts:
    """Every script, bound to one client; they share its round trips."""

    submit: Script
    room: Script
    take: Script
    renew: Script
    wait: Script
    publish: Script
    release: Script
    cancel: Script
    check: Script
    requeue: Script
    look: Script
    pass_on: Script
    beat: Script
    acquire: Script
    abandon: Script
    claim: Script
    settle: Script

    @classmethod
    def register(cls, redis: Redis, *, clock: str = REDIS_CLOCK) -> Self:
        """Bind the scripts to a client. `clock` is the Lua function `now_ms`; only tests bring another."""
        before = _constants() + clock + _SOURCES["_shares"]
        trips = Trips(redis)
        return cls(**{name: Script(trips, before + _SOURCES[name]) for name in cls.__slots__})
