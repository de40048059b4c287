"""Whether the parts behind the gateway answer."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.services.inference import InferenceClient
from gateway.services.storage import StorageClient

_REDIS_SECONDS = 1.0


class Readiness:
    """Asks storage, Redis and the engine hosts for a sign of life."""

    def __init__(self, storage: StorageClient, redis: Redis, inference: InferenceClient) -> None:
        self._storage = storage
        self._redis = redis
        self._inference = inference

    async def missing(self) -> list[str]:
        """The parts that do not answer, by name; one engine host is enough."""
        storage, redis, inference = await asyncio.gather(
            self._storage.is_serving(), self._redis_answers(), self._inference.is_serving()
        )
        parts = {"storage_service": storage, "redis": redis, "inference_service": inference}
        return [name for name, answers in parts.items() if not answers]

    async def _redis_answers(self) -> bool:
        try:
            async with asyncio.timeout(_REDIS_SECONDS):
                return bool(await self._redis.ping())
        except (RedisError, OSError):  # asyncio's TimeoutError is an OSError
            return False
