"""Jobs that live only as long as somebody listens: whose gateway is gone, they are ended (docs/promises.md P8).

Each gateway counts up a lease of its own, as holders of jobs and runs do, and a job that it submits for a client who
must stay carries its token. Engine hosts watch these leases: one that stood still for the lease time has no clients any
more, and no other gateway can have them. No clock but the watcher's own monotonic one takes part.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import cast

from redis.asyncio import Redis

from jan import keys
from jan.queue.jobs import JobQueue
from jan.queue.leases import LEASE_SECONDS, LeaseKind, LeaseWatch, new_token
from jan.queue.look import look
from jan.queue.scripts import Scripts

_GATEWAYS = keys.leases(LeaseKind.GATEWAY)
# Jobs are looked at this many at a time.
_PAGE = 1000


class Attendance:
    """One gateway's word that its clients are there."""

    def __init__(self, redis: Redis) -> None:
        self.token = new_token()
        self._redis = redis
        self._beats = 0

    async def ensure_seen(self) -> None:
        """Be known before the first job is: else nobody would notice it go. Raises redis.RedisError."""
        if not self._beats:
            await self.beat()

    async def beat(self) -> None:
        """Tell that this gateway lives. Raises redis.RedisError: Redis is away; the next beat tells it."""
        told = f"{self.token}:{self._beats + 1}"
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hset(_GATEWAYS, self.token, told)
            pipeline.expire(_GATEWAYS, keys.IDLE_TTL_SECONDS)
            await pipeline.execute()
        self._beats += 1

    async def leave(self) -> None:
        """Tell that no client is left. Raises redis.RedisError: engine hosts will notice by themselves."""
        await self._redis.hdel(_GATEWAYS, self.token)


class Unattended:
    """Ends the jobs of gateways that are gone; one watcher's memory, of which there may be several."""

    def __init__(
        self,
        redis: Redis,
        scripts: Scripts,
        queue: JobQueue,
        *,
        lease_seconds: float = LEASE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._scripts = scripts
        self._queue = queue
        self._watch = LeaseWatch(redis, LeaseKind.GATEWAY, lease_seconds=lease_seconds, monotonic=monotonic)

    async def end(self) -> list[str]:
        """Look once; cancel what nobody can hear any more, and answer which jobs that were.

        Raises redis.RedisError: Redis did not answer; what is left is ended by the next look.
        """
        stalled = {lease.id: lease.seen for lease in await self._watch.stalled()}
        if not stalled:
            return []
        snapshot = await look(self._scripts)
        ids = [job.id for job in snapshot.running] + [job.id for job in snapshot.waiting]
        orphans = await self._jobs_of(stalled, ids)
        # One that counted on meanwhile was only slow.
        now = cast(dict[bytes, bytes], await self._redis.hgetall(_GATEWAYS))
        gone = {token for token, seen in stalled.items() if now.get(token.encode()) == seen.encode()}
        ended = [job_id for job_id, token in orphans if token in gone]
        for job_id in ended:
            await self._queue.cancel(job_id)
        if gone:
            await self._redis.hdel(_GATEWAYS, *gone)
        return ended

    async def _jobs_of(self, tokens: Collection[str], job_ids: Sequence[str]) -> list[tuple[str, str]]:
        """Those of some jobs that need one of these gateways, each with its gateway's token."""
        found: list[tuple[str, str]] = []
        for start in range(0, len(job_ids), _PAGE):
            page = job_ids[start : start + _PAGE]
            async with self._redis.pipeline(transaction=False) as pipeline:
                for job_id in page:
                    pipeline.hget(keys.job(job_id), "attended")
                attended = cast(list[bytes | None], await pipeline.execute())
            found += [
                (job_id, token.decode())
                for job_id, token in zip(page, attended, strict=True)
                if token is not None and token.decode() in tokens
            ]
        return found
