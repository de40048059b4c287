"""Who executes a run: any gateway, one at a time, under a lease. The run itself is a record in storage."""

from __future__ import annotations

from dataclasses import dataclass

from redis.asyncio import Redis

from jan import keys
from jan.queue.leases import Lease, LeaseKind, new_token
from jan.queue.scripts import Scripts


@dataclass(frozen=True, slots=True)
class HeldRun:
    """A run in a gateway's hands. `published` events of earlier holders stand in its log already."""

    lease: Lease
    published: int


class RunLeases:
    """Takes and lets go of runs."""

    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        self._redis = redis
        self._scripts = scripts

    async def acquire(self, run_id: str, *, seen: str = "") -> HeldRun | None:
        """Take a run that nobody holds or, given the value of its stalled lease, one whose holder went silent.

        None when somebody else holds it. Raises redis.RedisError: unknown whether it was taken; repeat it later.
        """
        token = new_token()
        taken = await self._scripts.acquire(
            keys=[keys.run(run_id), keys.leases(LeaseKind.RUN)],
            args=[run_id, seen, token, keys.IDLE_TTL_SECONDS],
        )
        if taken is None:
            return None
        attempt, published = taken
        return HeldRun(Lease(LeaseKind.RUN, run_id, token, attempt), published)

    async def mark_retold(self, run_id: str) -> None:
        """Note that the run's log is told anew, after Redis forgot what was told. Raises redis.RedisError."""
        await self._redis.hset(keys.run(run_id), "retold", "1")

    async def is_retold(self, run_id: str) -> bool:
        """Whether numbers that a client has may be those of an earlier telling. Raises redis.RedisError."""
        return bool(await self._redis.hexists(keys.run(run_id), "retold"))

    async def abandon(self, lease: Lease) -> None:
        """Let go of a run before its end, so that another gateway can take it at once."""
        await self._scripts.abandon(keys=[keys.leases(LeaseKind.RUN)], args=[lease.id, lease.token])
