"""Connections to Redis, made in one way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, cast

from redis.asyncio import Connection, ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

# Longer than any blocking read (1 s), so that a blocked connection is not taken for a dead one.
SOCKET_TIMEOUT_SECONDS = 2.5
# redis-py's own bound of 100 turns a burst of requests into errors.
MAX_CONNECTIONS = 2048

# Made once: otherwise each new connection reads the installed version of redis-py from the disk.
_DRIVER = DriverInfo()


class _Connection(AbstractConnection):
    """A connection on which no cancellation is lost.

    redis-py has a command written within `asyncio.wait_for`, which until Python 3.12 forgets a cancellation that comes
    together with the end of the writing (python/cpython#86296): whoever cancels once, as task groups and timeouts do,
    waits for ever then.
    """

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        """Write a command. Raises redis.TimeoutError, redis.ConnectionError."""
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        if check_health:
            await self.check_health()  # type: ignore[no-untyped-call]
        patience_seconds = self.socket_timeout
        self.socket_timeout = None  # nobody else uses the connection meanwhile
        try:
            async with asyncio.timeout(patience_seconds):
                await super().send_packed_command(command, check_health=False)
        except TimeoutError:
            raise RedisTimeoutError("Timeout writing to socket") from None
        finally:
            self.socket_timeout = patience_seconds


class _Connections(ConnectionPool):
    """Connections that are over once they were closed.

    redis-py's own pool would connect anew for a command that was still under way then, and nobody closes that.
    """

    _is_closed = False

    def __init__(self, connection_class: type[AbstractConnection] = Connection, **options: Any) -> None:
        super().__init__(type("_Connection", (_Connection, connection_class), {}), **options)

    async def get_connection(self, *_: object, **__: object) -> AbstractConnection:
        """One that is connected. Raises redis.ConnectionError: the client is closed, or Redis is away."""
        self._check_open()
        connection: AbstractConnection = await super().get_connection()  # type: ignore[no-untyped-call]
        try:
            self._check_open()
        except RedisConnectionError:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        """Take one back."""
        await super().release(connection)
        if self._is_closed:  # it may have connected since
            await connection.disconnect()

    async def aclose(self) -> None:
        """Close all, for good."""
        self._is_closed = True
        await super().aclose()

    def _check_open(self) -> None:
        if self._is_closed:
            raise RedisConnectionError("The client is closed.")


def connect(url: str) -> Redis:
    """A client for a `redis://`, `rediss://` or `unix://` URL; it connects when first used, and never after `aclose`.

    A broken connection is tried again once: every script of `jan.queue` may be repeated, which is what makes that
    harmless (redis-py's own default of ten tries would hide an outage for too long).
    """
    pool = _Connections.from_url(
        url,
        retry=Retry(ExponentialWithJitterBackoff(cap=0.2, base=0.02), retries=1),
        socket_timeout=SOCKET_TIMEOUT_SECONDS,
        socket_connect_timeout=2.0,
        max_connections=MAX_CONNECTIONS,
        client_name="janroot",
        protocol=2,
        driver_info=_DRIVER,
    )
    return Redis.from_pool(pool)


StreamEntry = tuple[bytes, dict[bytes, bytes]]
"""A stream entry as RESP2 gives it: its id and its fields."""


async def read_streams(
    redis: Redis, cursors: Mapping[str, bytes | str], *, block_seconds: float, count: int | None = None
) -> list[tuple[str, list[StreamEntry]]]:
    """Wait for entries behind the cursors of several streams; empty after `block_seconds` without any.

    Raises redis.RedisError or OSError: Redis is away.
    """
    reply = await redis.xread(cast(Any, dict(cursors)), block=int(block_seconds * 1000), count=count)
    return [(key.decode(), entries) for key, entries in cast(Any, reply or [])]
