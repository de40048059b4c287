"""Tasks beside the models. One that fails on a defect is logged with its traceback, and ends nothing but itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from jan.telemetry import get_logger

logger = get_logger(__name__)


class Background:
    """Owns tasks through a TaskGroup, which would end the whole service with the first one that raises."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        """`tasks` waits for all of them at its end."""
        self._tasks = tasks

    def start(
        self,
        work: Callable[[], Awaitable[object]],
        name: str,
        *,
        after_failure: Callable[[], Awaitable[None]] | None = None,
    ) -> asyncio.Task[None]:
        """Do `work` beside everything else; `after_failure` puts right what it leaves behind when it raises."""

        async def contained() -> None:
            try:
                await work()
            except Exception:
                logger.exception("a task failed", task=name)
                if after_failure is not None:
                    await self._attempt(after_failure, name)

        return self._tasks.create_task(contained(), name=name)

    @staticmethod
    async def _attempt(repair: Callable[[], Awaitable[None]], name: str) -> None:
        try:
            await repair()
        except Exception:
            logger.exception("what a failed task left behind could not be put right", task=name)
