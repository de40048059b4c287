"""Chats that can be taken up again: whose they are, for a day."""

from __future__ import annotations

from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.queueing.jobs import queue_unavailable
from jan import keys
from jan.errors import NotFoundError
from jan.ids import CompletionId


class Chats:
    """Remembers which chats may be taken up again, and by whom; made once for the application."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def remember(self, id_: str, owner: str) -> None:
        """Note a chat before its job is submitted. owner: the digest of a key, empty for a chat without one.

        Raises UnavailableError: Redis does not answer.
        """
        try:
            await self._redis.set(keys.chat(id_), owner, ex=keys.IDLE_TTL_SECONDS)
        except (RedisError, OSError):
            raise queue_unavailable() from None

    async def check(self, id_: CompletionId, owner: str) -> None:
        """Raise NotFoundError unless this is a chat of the owner's; one without owner is whose the id is known to.

        Raises UnavailableError: Redis does not answer.
        """
        try:
            found = cast(bytes | None, await self._redis.get(keys.chat(id_)))
        except (RedisError, OSError):
            raise queue_unavailable() from None
        if found is None or found.decode() not in ("", owner):
            raise NotFoundError(f"No chat completion found with id '{id_}'.")

    async def forget(self, id_: CompletionId) -> None:
        """Nobody can take it up any more. Raises UnavailableError: Redis does not answer."""
        try:
            await self._redis.delete(keys.chat(id_))
        except (RedisError, OSError):
            raise queue_unavailable() from None
