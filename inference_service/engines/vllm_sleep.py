"""How vLLM sleeps and wakes: level 1, its weights go to RAM and its KV cache is dropped.

The routes are vLLM's development routes (`vllm/entrypoints/serve/dev/sleep/api_router.py`, 0.32): they are there with
`VLLM_SERVER_DEV_MODE=1` only, and its key protects nothing outside of `/v1`. So whoever reaches the socket may use
them; it lies in a folder that only this user may enter.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from inference_service.engines.client import EngineClient
from jan.errors import UnavailableError

FLAGS: Final = ("--enable-sleep-mode",)
ENVIRONMENT: Final = {"VLLM_SERVER_DEV_MODE": "1"}


@dataclass(frozen=True, slots=True)
class VllmSleep:
    """Sends a vLLM to sleep and wakes it. time_limit: for either; large weights take a while to copy."""

    time_limit: timedelta

    async def sleep(self, client: EngineClient) -> None:
        """Give the GPUs' memory back. Raises UnavailableError: it may be anything between asleep and dead now."""
        await client.command("/sleep?level=1", self.time_limit)
        await self._check(client, sleeps=True)

    async def wake(self, client: EngineClient) -> None:
        """Be ready for requests again. Raises as `sleep`."""
        await client.command("/wake_up", self.time_limit)
        await self._check(client, sleeps=False)

    async def _check(self, client: EngineClient, *, sleeps: bool) -> None:
        told: Any = await client.get_json("/is_sleeping")
        if not isinstance(told, dict) or told.get("is_sleeping") is not sleeps:
            raise UnavailableError(f"The engine did not {'fall asleep' if sleeps else 'wake'} when it was told to.")
