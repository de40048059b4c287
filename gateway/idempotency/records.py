"""Answers that are kept for a day, so that a request which is sent again is not done again (docs/promises.md P11).

A record begins with the token of whoever answers, which fences every later write; a JSON line and the answer's body
follow. While the request is being answered the record names its gateway: once that one has given no sign of life for
the lease time, another gateway takes the request over. The record also lives for a minute only and is renewed, should
nobody have seen that. Whoever finds at a renewal that another answers now, as after a pause or a Redis that forgot,
stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from jan import keys
from jan.backoff import Backoff
from jan.queue.attendance import Attendance
from jan.queue.leases import LEASE_SECONDS, RENEW_SECONDS, LeaseKind, LeaseWatch, new_token
from jan.queue.scripts import Scripts
from jan.tasks import background
from jan.telemetry import get_logger

logger = get_logger(__name__)

# How long requests whose clients left may go on after the gateway was told to stop.
CLOSE_SECONDS = 5.0

ResultT = TypeVar("ResultT")


class ClaimLostError(Exception):
    """Another gateway answers the request now."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a request.

    route, body: what it was; body is the digest of what was sent, None while an upload still comes in. status: HTTP's,
    0 while it is being answered. stream: where the answer is followed when it is a stream of events that may still go
    on, else empty; content is what goes in front of these events then. size_bytes: an upload's length. too_large: it
    was answered with more than is kept. gateway: who answers it, by the token of its lease.
    """

    token: str
    route: str
    body: str | None
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: tuple[str, ...] = ()
    size_bytes: int = 0
    too_large: bool = False
    gateway: str = ""
    content: bytes = b""

    def to_bytes(self) -> bytes:
        """The record as Redis keeps it."""
        facts = {name: getattr(self, name) for name in self.__slots__ if name not in ("token", "content")}
        return self.token.encode() + orjson.dumps(facts) + b"\n" + self.content

    @classmethod
    def from_bytes(cls, data: bytes) -> Record:
        """The other way round."""
        head, _, content = data.partition(b"\n")
        length = len(new_token())
        facts: dict[str, Any] = orjson.loads(head[length:])
        return cls(**facts | {"token": head[:length].decode(), "content": content, "stream": tuple(facts["stream"])})


@dataclass(frozen=True, slots=True)
class _InHand:
    """A request that is being answered here. `until_lost` ends the work on it."""

    name: str
    record: Record
    until_lost: asyncio.Timeout

    def lose(self) -> None:
        """Have the work stop: another gateway answers now."""
        if not self.until_lost.expired():
            logger.warning("a request is answered by another gateway", record=self.name[:12])
            self.until_lost.reschedule(asyncio.get_running_loop().time())


class RecordedAnswers:
    """The records in Redis, and the tasks that answer for clients who may have left; one for the application."""

    def __init__(
        self,
        redis: Redis,
        scripts: Scripts,
        attendance: Attendance,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`attendance` is this gateway's; `monotonic` the clock by which it sees others stand still."""
        self._redis = redis
        self._scripts = scripts
        self._attendance = attendance
        self._gateways = LeaseWatch(redis, LeaseKind.GATEWAY, monotonic=monotonic)
        self._still: dict[str, str] = {}
        self._in_hand: dict[str, _InHand] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Renew the records of requests in hand while the context is open; then let those end that were begun."""
        async with background(self._tend_for_ever(), "tend-recorded-answers"):
            yield
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
            while self._tasks:  # one that is ended may leave its record to another
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def run(self, work: Coroutine[object, object, ResultT], name: str) -> asyncio.Task[ResultT]:
        """Work on a request in a task of the application's own, which outlives its client."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    async def claim(self, name: str, route: str, body: str | None) -> tuple[Record, bool]:
        """Begin a request, or find what is known of it; True when the caller is to answer it now, and then settle it.

        Raises redis.RedisError: nobody knows whether it was begun.
        """
        return await self._claim(name, Record(new_token(), route, body))

    async def find(self, name: str) -> Record | None:
        """What is known of a request. Raises redis.RedisError."""
        found = cast(bytes | None, await self._redis.get(keys.recorded(name)))
        return None if found is None else Record.from_bytes(found)

    @asynccontextmanager
    async def held(self, name: str, record: Record) -> AsyncIterator[None]:
        """Hold on to a claim while its request is answered.

        Raises ClaimLostError, out of whatever is done meanwhile: another gateway has it now.
        """
        until_lost = asyncio.timeout(None)
        try:
            async with until_lost:
                self._in_hand[record.token] = _InHand(name, record, until_lost)
                yield
        except TimeoutError:
            if until_lost.expired():
                raise ClaimLostError(name) from None
            raise
        finally:
            self._in_hand.pop(record.token, None)

    async def take_over(self, name: str, record: Record) -> tuple[Record, bool]:
        """Begin a request that another gateway began, if that one is gone: as `claim`.

        It is done again under the same ids, so what was made by then is found.
        """
        self._gateways.expect(record.gateway)
        if record.gateway not in self._still:
            return record, False
        mine = Record(new_token(), record.route, record.body)
        return await self._claim(name, mine, [record.to_bytes(), record.gateway, self._still[record.gateway]])

    def free_in_seconds(self, record: Record) -> int:
        """When a request that is being answered may be sent again: soon, or once its silent gateway counts as gone."""
        still_seconds = self._gateways.still_seconds(record.gateway)
        is_silent = still_seconds > 2 * RENEW_SECONDS
        return max(1, math.ceil(LEASE_SECONDS - still_seconds)) if is_silent else 1

    async def _claim(self, name: str, mine: Record, before: Sequence[str | bytes] = ()) -> tuple[Record, bool]:
        await self._attendance.ensure_seen()
        mine = replace(mine, gateway=self._attendance.token)
        try:
            record = await self._ask(name, mine, before)
        except (RedisError, OSError):
            self.run(self._disown(name, mine.token), f"disown-{name[:12]}")
            raise
        # Our own token is found after a lost reply and a second try of the client library.
        claimed = record.token == mine.token
        return record, claimed

    async def _ask(self, name: str, mine: Record, before: Sequence[str | bytes] = ()) -> Record:
        """Put a record where there is none, or have it live on; the one that is there then. Raises redis.RedisError."""
        found = cast(
            bytes | None,
            await self._scripts.claim(
                keys=[keys.recorded(name), keys.leases(LeaseKind.GATEWAY)],
                args=[mine.to_bytes(), keys.ANSWERING_TTL_SECONDS, *before],
            ),
        )
        return mine if found is None else Record.from_bytes(found)

    async def keep(self, name: str, record: Record) -> bool:
        """Keep an answer for a day, or until newer ones need its room (jan.keys: RECORDED_OF_HOLDER_MAX_BYTES).

        False when another gateway has the claim: what goes on under it here is ended at its next step.
        """
        if len(record.content) > keys.RECORDED_MAX_BYTES:
            record = replace(record, content=b"", too_large=True)
        return await self._settle(name, record.token, record.to_bytes())

    async def drop(self, name: str, record: Record) -> bool:
        """Forget a request that may be sent again: it was not done, or will not be done twice by doing it again.

        False as in `keep`.
        """
        return await self._settle(name, record.token, b"")

    async def _settle(self, name: str, token: str, value: bytes) -> bool:
        """Settle a record now or later; False when it is known to be another's."""
        in_hand = self._in_hand.pop(token, None)
        is_mine = await self._settled(name, token, value)
        if is_mine is None:
            self.run(self._settle_later(name, token, value), f"settle-{name[:12]}")
        elif not is_mine and in_hand is not None:
            in_hand.lose()
        return is_mine is not False

    async def _settle_later(self, name: str, token: str, value: bytes) -> None:
        """Settle what Redis would not take: else the key stays locked, or an answer that was given is forgotten.

        After a minute the record is gone by itself.
        """
        backoff = Backoff()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(keys.ANSWERING_TTL_SECONDS):
                await backoff.wait()
                while await self._settled(name, token, value) is None:
                    await backoff.wait()

    async def _disown(self, name: str, token: str) -> None:
        """Take back a claim whose reply did not come: a Redis that stood still does it late, for nobody to answer."""
        await self._settle_later(name, token, b"")
        # What it was sent before it stood still may have been done behind that.
        await self._settle_later(name, token, b"")

    async def _settled(self, name: str, token: str, value: bytes) -> bool | None:
        """Whether a record is as it is to be; False when it is another's, None when Redis did not say."""
        try:
            return bool(
                await self._scripts.settle(keys=[keys.recorded(name)], args=[token, keys.IDLE_TTL_SECONDS, value])
            )
        except (RedisError, OSError) as error:
            logger.warning("answer not recorded yet", error=str(error))
            return None

    async def _tend_for_ever(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self.renew()
                await self.look()
            except (RedisError, OSError) as error:
                logger.warning("recorded answers not renewed", error=str(error))

    async def renew(self) -> None:
        """Have the records of requests in hand live on; what another gateway answers meanwhile is stopped here.

        Raises redis.RedisError.
        """
        await asyncio.gather(*map(self._renew, list(self._in_hand)))

    async def _renew(self, token: str) -> None:
        if token not in self._in_hand:
            return  # it was settled just now: asked for again it would be locked
        in_hand = self._in_hand[token]
        found = await self._ask(in_hand.name, in_hand.record)
        if found.token != token and token in self._in_hand:
            in_hand.lose()

    async def look(self) -> None:
        """Look once which gateways stand still. Raises redis.RedisError."""
        self._still = {lease.id: lease.seen for lease in await self._gateways.stalled()}

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its client left: nobody else will look
