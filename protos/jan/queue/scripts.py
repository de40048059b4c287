"""The queue's atomic steps, as Lua scripts run by Redis."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Self

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

_SOURCES = {
    script.name.removesuffix(".lua"): script.read_text(encoding="utf-8")
    for script in files("jan.queue").joinpath("scripts").iterdir()
}


@dataclass(frozen=True, slots=True)
class Scripts:
    """Every script, registered with one client; each is one round trip and loads itself into a new server."""

    submit: AsyncScript
    take: AsyncScript
    renew: AsyncScript
    publish: AsyncScript
    release: AsyncScript
    cancel: AsyncScript
    acquire: AsyncScript
    abandon: AsyncScript

    @classmethod
    def register(cls, redis: Redis) -> Self:
        """Bind the scripts to a client."""
        return cls(**{name: redis.register_script(_SOURCES[name]) for name in cls.__slots__})
