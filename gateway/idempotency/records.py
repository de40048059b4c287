"""Answers that are kept for a day, so that a request which is sent again is not done again (docs/promises.md P11).

A record begins with the token of whoever answers, which fences every later write; a JSON line and the answer's body
follow. While the request is being answered the record names its gateway: once that one's lease stands still, another
gateway takes the request over. It also lives for a minute only and is renewed, should nobody have seen that.
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
from jan.queue.leases import LEASE_SECONDS, LeaseKind, LeaseWatch, new_token
from jan.queue.leases import RENEW_SECONDS as LEASE_RENEW_SECONDS
from jan.queue.scripts import Scripts
from jan.tasks import background
from jan.telemetry import get_logger

logger = get_logger(__name__)

RENEW_SECONDS = keys.ANSWERING_TTL_SECONDS / 4
# How long requests whose clients left may go on after the gateway was told to stop.
CLOSE_SECONDS = 5.0

# A record that may be taken over is named by its value, its gateway and that one's lease; this is none.
_NOTHING = ("", "", "")

ResultT = TypeVar("ResultT")


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
        self._scripts = scripts
        self._attendance = attendance
        self._gateways = LeaseWatch(redis, LeaseKind.GATEWAY, monotonic=monotonic)
        self._still: dict[str, str] = {}
        self._answering: dict[str, str] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Renew the records of requests in hand while the context is open; then let those end that were begun."""
        async with (
            background(self._renew_for_ever(), "renew-recorded-answers"),
            background(self._watch_for_ever(), "watch-gateways"),
        ):
            yield
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)

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

    async def take_over(self, name: str, record: Record) -> tuple[Record, bool]:
        """Begin a request that another gateway began, if that one is gone: as `claim`.

        It is done again under the same ids, so what was made by then is found.
        """
        mine = Record(new_token(), record.route, record.body)
        return await self._claim(name, mine, [record.to_bytes(), record.gateway, self._still.get(record.gateway, "")])

    def free_in_seconds(self, record: Record) -> int:
        """When a request that is being answered may be sent again: soon, or once its silent gateway counts as gone."""
        still_seconds = self._gateways.still_seconds(record.gateway)
        is_silent = still_seconds > 2 * LEASE_RENEW_SECONDS
        return max(1, math.ceil(LEASE_SECONDS - still_seconds)) if is_silent else 1

    async def _claim(
        self, name: str, mine: Record, before: Sequence[str | bytes] = ("", "", "")
    ) -> tuple[Record, bool]:
        await self._attendance.ensure_seen()
        mine = replace(mine, gateway=self._attendance.token)
        try:
            found = cast(
                bytes | None,
                await self._scripts.claim(
                    keys=[keys.recorded(name), keys.leases(LeaseKind.GATEWAY)],
                    args=[mine.to_bytes(), keys.ANSWERING_TTL_SECONDS, *before],
                ),
            )
        except (RedisError, OSError):
            self.run(self._disown(name, mine.token), f"disown-{name[:12]}")
            raise
        record = mine if found is None else Record.from_bytes(found)
        # Our own token is found after a lost reply and a second try of the client library.
        claimed = record.token == mine.token
        if claimed:
            self._answering[name] = mine.token
        return record, claimed

    async def keep(self, name: str, record: Record) -> None:
        """Keep an answer for a day, or until newer ones need its room (jan.keys: RECORDED_OF_HOLDER_MAX_BYTES)."""
        if len(record.content) > keys.RECORDED_MAX_BYTES:
            record = replace(record, content=b"", too_large=True)
        await self._settle(name, record.token, record.to_bytes())

    async def drop(self, name: str, record: Record) -> None:
        """Forget a request that may be sent again: it was not done, or will not be done twice by doing it again."""
        await self._settle(name, record.token, b"")

    async def _settle(self, name: str, token: str, value: bytes) -> None:
        self._answering.pop(name, None)
        if not await self._has_settled(name, token, value):
            self.run(self._settle_later(name, token, value), f"settle-{name[:12]}")

    async def _settle_later(self, name: str, token: str, value: bytes) -> None:
        """Settle what Redis would not take: else the key stays locked, or an answer that was given is forgotten.

        After a minute the record is gone by itself.
        """
        backoff = Backoff()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(keys.ANSWERING_TTL_SECONDS):
                await backoff.wait()
                while not await self._has_settled(name, token, value):
                    await backoff.wait()

    async def _disown(self, name: str, token: str) -> None:
        """Take back a claim whose reply did not come: a Redis that stood still does it late, for nobody to answer."""
        await self._settle_later(name, token, b"")
        # What it was sent before it stood still may have been done behind that.
        await self._settle_later(name, token, b"")

    async def _has_settled(self, name: str, token: str, value: bytes) -> bool:
        try:
            await self._scripts.settle(keys=[keys.recorded(name)], args=[token, keys.IDLE_TTL_SECONDS, value])
        except (RedisError, OSError) as error:
            logger.warning("answer not recorded yet", error=str(error))
            return False
        return True

    async def _renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            for name, token in list(self._answering.items()):
                try:
                    await self._scripts.settle(keys=[keys.recorded(name)], args=[token, keys.ANSWERING_TTL_SECONDS])
                except (RedisError, OSError) as error:
                    logger.warning("recorded answer not renewed", error=str(error))

    async def _watch_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LEASE_RENEW_SECONDS)
            try:
                await self.look()
            except (RedisError, OSError) as error:
                logger.warning("other gateways not seen", error=str(error))

    async def look(self) -> None:
        """Look once which gateways stand still. Raises redis.RedisError."""
        self._still = {lease.id: lease.seen for lease in await self._gateways.stalled()}

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its client left: nobody else will look
