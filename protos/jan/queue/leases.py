"""Leases without clocks.

Whoever works on a job or a run counts its lease up in Redis. Whoever might take it over watches that counter against
its own monotonic clock: a lease that stood still for the lease time is stalled. Nobody's wall clock takes part, so a
clock jump on any host, Redis's included, releases nothing (docs/promises.md P12). The take-over compares the
counter once more, so a lease renewed in the last moment stays with its holder.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from redis.asyncio import Redis

from jan import keys
from jan.queue.scripts import Scripts

LEASE_SECONDS = 8.0
# A lease is renewed four times in its life, so that three renewals may fail.
RENEW_SECONDS = LEASE_SECONDS / 4
# More than a cluster's gateways in a day.
_MOST_EXPECTED = 1_000


class LeaseLostError(Exception):
    """The lease has another holder now, or is gone; whatever this holder still says is not recorded."""


class LeaseKind(StrEnum):
    """What can be held."""

    JOB = "jobs"
    RUN = "runs"
    GATEWAY = "gateways"


class LeaseState(StrEnum):
    """What a renewal learns."""

    HELD = "held"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one thing. `token` fences every write; `attempt` counts the holders, from 1."""

    kind: LeaseKind
    id: str
    token: str
    attempt: int

    @property
    def holder_key(self) -> str:
        """The hash that names the holder."""
        return keys.job(self.id) if self.kind is LeaseKind.JOB else keys.run(self.id)


def new_token() -> str:
    """A token that no other holder ever had."""
    return secrets.token_hex(8)


async def renew(scripts: Scripts, kind: LeaseKind, held: Sequence[Lease]) -> list[LeaseState]:
    """Renew leases of one kind in one round trip; answers in the order given.

    Raises redis.RedisError: nothing was renewed, or it is unknown; try again.
    """
    if not held:
        return []
    arguments: list[str | int] = [keys.IDLE_TTL_SECONDS]
    for lease in held:
        arguments += [lease.id, lease.token]
    answers = await scripts.renew(keys=[keys.leases(kind), *(lease.holder_key for lease in held)], args=arguments)
    return [LeaseState(answer.decode()) for answer in answers]


@dataclass(frozen=True, slots=True)
class StalledLease:
    """A lease that stood still for the lease time; `seen` is its value then."""

    id: str
    seen: str

    @property
    def token(self) -> str:
        """The token of the holder that went silent."""
        return self.seen.rpartition(":")[0]


class StillWatch:
    """Notices values that stand still, by this observer's own clock."""

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._seen: dict[str, tuple[str, float]] = {}

    def value(self, id_: str) -> str:
        """A value as it was seen last; empty for one that was not there."""
        return self._seen.get(id_, ("", 0.0))[0]

    def since(self, id_: str) -> float | None:
        """When a value was first seen to be as it is; None for one that is not there."""
        return self._seen[id_][1] if id_ in self._seen else None

    def forget(self) -> None:
        """Begin anew: what was seen before says nothing any more."""
        self._seen = {}

    def observe(self, current: Mapping[str, str], now: float) -> list[str]:
        """Look at the values as they are now; those that have not moved for the lease time."""
        self._seen = {
            id_: self._seen[id_] if id_ in self._seen and self._seen[id_][0] == value else (value, now)
            for id_, value in current.items()
        }
        return [id_ for id_, (_, since) in self._seen.items() if now - since >= self._lease_seconds]


class LeaseWatch:
    """Notices leases that stand still. One observer's memory; several observers may watch the same leases."""

    def __init__(
        self,
        redis: Redis,
        kind: LeaseKind,
        *,
        lease_seconds: float = LEASE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._key = keys.leases(kind)
        self._lease_seconds = lease_seconds
        self._monotonic = monotonic
        self._still = StillWatch(lease_seconds)
        self._held: frozenset[str] = frozenset()
        self._expected: dict[str, None] = {}
        self._looked_at: float | None = None

    def expect(self, id_: str) -> None:
        """Watch a lease also while it is gone: that it went is no sign of life, nor one of death.

        Whoever saw it stand still may have removed it, but Redis may also have forgotten it, and its holder renews it.
        """
        self._expected[id_] = None
        while len(self._expected) > _MOST_EXPECTED:
            del self._expected[next(iter(self._expected))]

    async def stalled(self) -> list[StalledLease]:
        """Look once, and return what has not moved since a look at least the lease time ago.

        Time in which this observer could not look does not count: nobody could renew then either. Raises
        redis.RedisError: Redis did not answer.
        """
        began = self._monotonic()
        unseen = self._looked_at is None or began - self._looked_at >= self._lease_seconds
        self._looked_at = None
        values = cast(dict[bytes, bytes], await self._redis.hgetall(self._key))
        now = self._looked_at = self._monotonic()
        if unseen or now - began >= self._lease_seconds:
            self._still.forget()
        current = {id_.decode(): value.decode() for id_, value in values.items()}
        self._held = frozenset(current)
        current |= {id_: self._still.value(id_) for id_ in self._expected if id_ not in current}
        return [StalledLease(id_, current[id_]) for id_ in self._still.observe(current, now)]

    def still_seconds(self, id_: str) -> float:
        """For how long a lease has been seen to stand still; 0 for one that is not known."""
        since = self._still.since(id_)
        return 0.0 if since is None else self._monotonic() - since

    def holds(self, id_: str) -> bool:
        """Whether anybody held this at the last look."""
        return id_ in self._held
