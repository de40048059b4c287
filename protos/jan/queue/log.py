"""Writing numbered event logs: the one place where a job's or a run's events are published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError, ResponseError

from jan import keys
from jan.queue.leases import Lease, LeaseLostError
from jan.queue.scripts import Scripts


@dataclass(frozen=True, slots=True)
class LogWrite:
    """Events for one log, the first of which has the number `first`.

    ends: the last one closes the log and the lease. spent_tokens: what an ended job really used, prompt and answer: its
    tenant's share is put right by it. is_whole: it ended with its answer, so that its time says how long answers take.
    """

    lease: Lease
    first: int
    payloads: Sequence[bytes]
    ends: bool = False
    spent_tokens: int | None = None
    is_whole: bool = True

    @property
    def ending(self) -> str:
        """How the log ends with it, in the script's words."""
        if not self.ends:
            return "0"
        return "1" if self.is_whole else "2"


async def append(scripts: Scripts, writes: Sequence[LogWrite]) -> list[LeaseLostError | RedisError | None]:
    """Append to several logs in one round trip; what went wrong with each, which touches no other.

    LeaseLostError: somebody else holds the lease now, or Redis forgot the log, and the job or run with it. Safe to
    repeat: events already in a log are not appended again. Raises redis.RedisError: unknown what was appended; repeat
    it. A call that was broken off leaves the same doubt: the next call must bring the same events again, and may bring
    others behind them.
    """
    script_keys: list[str] = []
    arguments: list[str | int | bytes] = []
    for write in writes:
        lease = write.lease
        script_keys += (lease.holder_key, keys.log(lease.id), keys.leases(lease.kind))
        spent: str | int = "" if write.spent_tokens is None else write.spent_tokens
        arguments += (lease.id, lease.token, write.first, write.ending, spent, len(write.payloads))
        arguments += write.payloads
    answers = await scripts.publish(keys=script_keys, args=arguments)
    return [_trouble(write.lease, answer) for write, answer in zip(writes, answers, strict=True)]


def _trouble(lease: Lease, answer: int | bytes) -> LeaseLostError | RedisError | None:
    if isinstance(answer, bytes):
        return ResponseError(answer.decode(errors="replace"))
    return LeaseLostError(lease.id) if answer < 0 else None


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

    async def publish(
        self,
        payloads: Sequence[bytes],
        *,
        ends: bool = False,
        spent_tokens: int | None = None,
        is_whole: bool = True,
    ) -> None:
        """Append events in one round trip; with `ends` the last one closes the log and the lease. See `LogWrite`.

        Raises LeaseLostError, redis.RedisError: see `append`.
        """
        write = LogWrite(self._lease, self._published + 1, payloads, ends, spent_tokens, is_whole)
        [trouble] = await append(self._scripts, [write])
        if trouble is not None:
            raise trouble
        self._published += len(payloads)
