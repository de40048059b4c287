"""Round trips to Redis that concurrent calls share.

A call alone leaves at once. Those that come while one is under way gather, and the next trip takes all of them: one
connection, one write, one wake-up for many. That costs both ends a fraction of a connection each, just when there is
most to do.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

_MOST_CALLS = 256
"""What one trip takes along: its replies are read within the time limit of one."""


@dataclass(frozen=True, slots=True)
class _Call:
    packed: bytes
    reply: asyncio.Future[Any]


class Trips:
    """Carries commands to Redis and replies back, many at once. Each may be sent twice, as after a lost reply."""

    def __init__(self, redis: Redis, *, at_once: int = 1) -> None:
        """`at_once` trips may be under way together."""
        self._redis = redis
        self._at_once = at_once
        self._calls: deque[_Call] = deque()
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, *command: str | bytes | float) -> Any:
        """Send one command; its reply. Raises redis.RedisError: what Redis answered, or that it did not.

        A caller who is cancelled takes nobody along: the trip goes on, and the reply is dropped.
        """
        call = _Call(cast(bytes, hiredis.pack_command(cast(Any, command))), asyncio.get_running_loop().create_future())
        self._calls.append(call)
        self._set_out()
        return await call.reply

    def _set_out(self) -> None:
        if self._under_way < self._at_once:
            self._under_way += 1
            task = asyncio.create_task(self._travel(), name="redis-trip")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _travel(self) -> None:
        """Go on over one connection while anybody waits."""
        calls: list[_Call] = []
        try:
            async with _connection(self._redis) as connection:
                while calls := self._leaving():
                    _give(calls, await _exchange(connection, calls))
        except Exception as error:  # noqa: BLE001  each caller raises it
            calls += self._calls
            self._calls.clear()
            _give(calls, [error] * len(calls))
        finally:
            self._under_way -= 1
            if self._calls:  # they came while the connection was given back
                self._set_out()

    def _leaving(self) -> list[_Call]:
        return [self._calls.popleft() for _ in range(min(len(self._calls), _MOST_CALLS))]


@asynccontextmanager
async def _connection(redis: Redis) -> AsyncIterator[AbstractConnection]:
    connection: AbstractConnection = await redis.connection_pool.get_connection()  # type: ignore[no-untyped-call]
    try:
        yield connection
    finally:
        await redis.connection_pool.release(connection)


async def _exchange(connection: AbstractConnection, calls: list[_Call]) -> list[Any]:
    """The replies to some calls, in one write and within one time limit; as often as the client's retries say."""

    async def attempt() -> list[Any]:
        await connection.send_packed_command(b"".join([call.packed for call in calls]))
        try:
            async with asyncio.timeout(connection.socket_timeout):
                return [await _reply(connection) for _ in calls]
        except TimeoutError as error:
            raise RedisTimeoutError("Redis did not answer in time.") from error

    return await connection.retry.call_with_retry(attempt, lambda _: connection.disconnect())


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response(timeout=math.inf)  # the limit is around all of them
    except ResponseError as error:
        return error


def _give(calls: list[_Call], replies: list[Any]) -> None:
    for call, reply in zip(calls, replies, strict=True):
        if call.reply.done():
            continue  # its caller was cancelled
        if isinstance(reply, Exception):
            call.reply.set_exception(reply)
        else:
            call.reply.set_result(reply)
