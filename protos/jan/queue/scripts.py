"""The queue's atomic steps, as Lua scripts run by Redis.

Before each script stand the names and bounds of `jan.keys` and the functions of `_shares.lua`, so that both are written
once, and the clock that it reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Self

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from jan import keys

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


@dataclass(frozen=True, slots=True)
class Scripts:
    """Every script, registered with one client; each is one round trip and loads itself into a new server."""

    submit: AsyncScript
    room: AsyncScript
    take: AsyncScript
    renew: AsyncScript
    publish: AsyncScript
    release: AsyncScript
    cancel: AsyncScript
    check: AsyncScript
    requeue: AsyncScript
    look: AsyncScript
    pass_on: AsyncScript
    beat: AsyncScript
    acquire: AsyncScript
    abandon: AsyncScript
    settle: AsyncScript

    @classmethod
    def register(cls, redis: Redis, *, clock: str = REDIS_CLOCK) -> Self:
        """Bind the scripts to a client. `clock` is the Lua function `now_ms`; only tests bring another."""
        before = _constants() + clock + _SOURCES["_shares"]
        return cls(**{name: redis.register_script(before + _SOURCES[name]) for name in cls.__slots__})
