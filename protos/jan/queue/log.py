"""Writing a numbered event log: the one place where a job's or a run's events are published."""

from __future__ import annotations

from collections.abc import Sequence

from jan import keys
from jan.queue.leases import Lease, LeaseLostError
from jan.queue.scripts import Scripts


class LogWriter:
    """Appends events for the holder of a lease. Numbers begin at 1 and go on where an earlier attempt stopped."""

    def __init__(self, scripts: Scripts, lease: Lease, *, published: int = 0) -> None:
        self._scripts = scripts
        self._lease = lease
        self._published = published

    @property
    def published(self) -> int:
        """The number of the last event known to be in the log."""
        return self._published

    async def publish(self, payloads: Sequence[bytes], *, ends: bool = False, spent_tokens: int | None = None) -> None:
        """Append events in one round trip; with `ends` the last one closes the log and the lease.

        `spent_tokens` is what an ended job really used, prompt and answer: its tenant's share is put right by it.

        Safe to repeat: events already in the log are not appended again. Raises LeaseLostError: somebody else holds
        the lease now, or Redis forgot the log, and the job or run with it. Raises redis.RedisError: unknown whether it
        was appended; repeat it. A call that was broken off leaves the same doubt: the next call must bring the same
        events again before it brings others.
        """
        last = await self._scripts.publish(
            keys=[self._lease.holder_key, keys.log(self._lease.id), keys.leases(self._lease.kind)],
            args=[
                self._lease.id,
                self._lease.token,
                self._published + 1,
                "1" if ends else "0",
                "" if spent_tokens is None else spent_tokens,
                *payloads,
            ],
        )
        if last < 0:
            raise LeaseLostError(self._lease.id)
        self._published += len(payloads)
