"""A run that Redis forgot in the middle is answered anew: when what follows it may go on with the new answer.

All that is known of that stands here: which telling is another one, what every telling begins with alike, and how a
reader goes on from one to the other.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, suppress

import orjson
from redis.exceptions import RedisError

from gateway.queueing.jobs import queue_unavailable
from gateway.runs import states
from jan.errors import JanError
from jan.queue.follower import LogFollower
from jan.queue.runs import RunLeases
from jan.queue.subscription import LogEntry, LogRestartedError, LogSubscription
from jan.storage.v1 import runs_pb2

ALIKE = 2
"""The events that every telling of a round begins with alike: that it is there, and that it is queued."""
# Nothing of an answer is told in more events than these.
_MOST_EVENTS = 64

Batches = AsyncIterator[list[LogEntry]]


class Retellings:
    """Which rounds are told anew, noted where every gateway finds it."""

    def __init__(self, leases: RunLeases) -> None:
        self._leases = leases

    async def note(self, round_id: str, run: runs_pb2.Run, published: int) -> None:
        """Note it if an execution tells other events than somebody may have read.

        That is when its log is empty, and the run says that it had come further than what all begin with. Raises
        redis.RedisError.
        """
        if not published and run.status != states.QUEUED:
            await self._leases.mark_retold(round_id)

    async def check(self, round_id: str, gone: JanError) -> None:
        """Raise `gone` when numbers that a client has may be those of an earlier telling.

        Raises UnavailableError: Redis does not answer.
        """
        try:
            is_retold = await self._leases.is_retold(round_id)
        except (RedisError, OSError):
            raise queue_unavailable() from None
        if is_retold:
            raise gone


class Told:
    """What a stream has told of a round, as long as that is nothing of the answer.

    Then another telling that begins with the same events, of the same objects, may be gone on with behind them.
    """

    def __init__(self, after: int) -> None:
        """after: the number of the last event that the client had before."""
        self.number = after
        self._marks: list[bytes] | None = [b""] * after if after <= ALIKE else None

    def add(self, batch: Sequence[LogEntry]) -> None:
        """These were told."""
        self.number = batch[-1].number
        for entry in batch:
            mark = None if self._marks is None or len(self._marks) >= _MOST_EVENTS else _mark(entry.payload)
            if self._marks is None or mark is None:
                self._marks = None
                return
            self._marks.append(mark)

    @property
    def may_go_on(self) -> bool:
        """Whether nothing of the answer was told."""
        return self._marks is not None

    def continued_by(self, batch: Sequence[LogEntry]) -> list[LogEntry] | None:
        """What of another telling is to be told; None when it does not begin as this one did."""
        for entry in batch:
            if entry.number <= self.number:
                mark = self._marks[entry.number - 1] if self._marks is not None else None
                if mark is None or mark not in (b"", _mark(entry.payload)):
                    self._marks = None  # there is nothing that could be gone on with
                    return None
        return [entry for entry in batch if entry.number > self.number]


async def told_once(
    follower: LogFollower,
    subscription: LogSubscription,
    told: Told,
    read: Callable[[LogSubscription], Batches],
) -> AsyncGenerator[list[LogEntry], None]:
    """A round's events behind what was told of it, each once, as `read` gives them; its silences are empty lists.

    When Redis forgot the round before anything of its answer was told, the new telling is gone on with. Raises
    LogRestartedError: something was told, or the new telling differs. Whatever `read` raises.
    """
    async with AsyncExitStack() as followed:
        while True:
            try:
                async for batch in _behind(follower, told, subscription, read):
                    yield batch
                return
            except LogRestartedError:
                if not told.may_go_on:
                    raise
            await followed.aclose()
            again = follower.follow(subscription.log_id, waits_for_redis=True)
            subscription = await followed.enter_async_context(again)


async def _check_held(follower: LogFollower, subscription: LogSubscription) -> None:
    """Raise LogRestartedError when Redis has forgotten what was read last: perhaps nothing ever follows that."""
    with suppress(RedisError, OSError):
        if not await follower.holds(subscription):
            raise LogRestartedError(subscription.log_id)


async def _behind(
    follower: LogFollower, told: Told, subscription: LogSubscription, read: Callable[[LogSubscription], Batches]
) -> AsyncIterator[list[LogEntry]]:
    async for batch in read(subscription):
        if not batch:
            await _check_held(follower, subscription)
        fresh = told.continued_by(batch)
        if fresh is None:
            raise LogRestartedError(subscription.log_id)
        if fresh:
            told.add(fresh)
        if fresh or not batch:
            yield fresh


def _mark(frame: bytes) -> bytes | None:
    """An event's name and its object's id; None for one that tells a part of the answer, or an end."""
    head, _, data = frame.partition(b"\ndata: ")
    if not head.startswith(b"event: thread.") or head.endswith(b".delta"):
        return None
    return head + b" " + str(orjson.loads(data).get("id")).encode()
