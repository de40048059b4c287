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

    async def is_remembered(self, id_: str) -> bool:
        """Whether nobody has deleted it. Raises UnavailableError: Redis does not answer."""
        try:
            return bool(await self._redis.exists(keys.chat(id_)))
        except (RedisError, OSError):
            raise queue_unavailable() from None

    async def keep(self, id_: str, kept: bytes) -> None:
        """Note what is to be stored of a chat's request once its answer is whole; its job was submitted.

        Raises UnavailableError: Redis does not answer.
        """
        try:
            await self._redis.set(keys.chat_kept(id_), kept, ex=keys.IDLE_TTL_SECONDS)
        except (RedisError, OSError):
            raise queue_unavailable() from None

    async def kept(self, id_: str) -> bytes | None:
        """What is to be stored of a chat's request; None when it is stored, or was not to be.

        Raises UnavailableError: Redis does not answer.
        """
        try:
            return cast(bytes | None, await self._redis.get(keys.chat_kept(id_)))
        except (RedisError, OSError):
            raise queue_unavailable() from None

    async def drop_kept(self, id_: str) -> None:
        """It is stored, or never will be. Raises UnavailableError: Redis does not answer."""
        try:
            await self._redis.delete(keys.chat_kept(id_))
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
            await self._redis.delete(keys.chat(id_), keys.chat_kept(id_))
        except (RedisError, OSError):
            raise queue_unavailable() from None
