"""Which engine hosts live, and which models each of them has: what a job is left to another host for.

Each host counts a beat up in Redis, four times in a lease time; one that was seen to stand still for the lease time is
forgotten by the others. As with leases, no clock is compared with another's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from redis.asyncio import Redis

from jan import keys
from jan.queue.leases import LEASE_SECONDS, StillWatch, new_token
from jan.queue.scripts import Scripts


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The models of the other hosts. running: they answer. loading: they are on their way into memory."""

    running: frozenset[str] = frozenset()
    loading: frozenset[str] = frozenset()


class Hosts:
    """The engine hosts as one of them sees them."""

    def __init__(
        self,
        redis: Redis,
        scripts: Scripts,
        name: str,
        *,
        lease_seconds: float = LEASE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`name` is what people call this host; two hosts may share it."""
        self.name = name
        self.id = f"{name} {new_token()}"
        self.elsewhere = Elsewhere()
        self._redis = redis
        self._scripts = scripts
        self._watch = StillWatch(lease_seconds)
        self._monotonic = monotonic
        self._beats = 0
        self._values: dict[str, str] = {}

    async def beat(self, running: Collection[str], loading: Collection[str]) -> None:
        """Tell that this host lives and which models it has, and learn the same of the others.

        Raises redis.RedisError: Redis is away; the next beat tells it all.
        """
        self._beats += 1
        told = orjson.dumps({"beat": self._beats, "running": sorted(running), "loading": sorted(loading)})
        still = self._watch.observe(self._values, self._monotonic())
        arguments: list[str | bytes] = [self.id, told]
        for host_id in still:
            arguments += [host_id, self._values[host_id]]
        answer: list[bytes] = await self._scripts.beat(keys=[keys.HOSTS], args=arguments)
        values = dict(zip(answer[::2], answer[1::2], strict=True))
        self._values = {host.decode(): value.decode() for host, value in values.items() if host.decode() != self.id}
        self.elsewhere = _elsewhere([orjson.loads(value) for value in self._values.values()])

    async def leave(self) -> None:
        """Tell that this host takes no more jobs. Raises redis.RedisError: the others will notice by themselves."""
        await self._redis.hdel(keys.HOSTS, self.id)


def _elsewhere(told: Collection[Mapping[str, Any]]) -> Elsewhere:
    running = frozenset(model for host in told for model in host["running"])
    return Elsewhere(running, frozenset(model for host in told for model in host["loading"]) - running)
