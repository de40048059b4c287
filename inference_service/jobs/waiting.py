"""Telling what a taken job waits for while its model is not there yet, so that its client need not stare at nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from redis.exceptions import RedisError

from inference_service.models.model import RunningModel
from inference_service.models.pool import Models
from jan.backoff import Backoff
from jan.queue.jobs import TakenJob
from jan.queue.scripts import Scripts
from jan.queue.waits import Wait, tell_wait
from jan.tasks import background
from jan.telemetry import get_logger

logger = get_logger(__name__)

# A wait shorter than this is not told; news are told as seldom. Gateways look once a second.
LOOK_SECONDS = 0.5


class WaitsTold:
    """One job's wait for its model. Nothing is told, and nothing asked of Redis, where the model answers already."""

    def __init__(self, scripts: Scripts, models: Models, taken: TakenJob) -> None:
        self._scripts = scripts
        self._models = models
        self._taken = taken
        self._told: Wait | None = None

    @asynccontextmanager
    async def model(self) -> AsyncIterator[RunningModel]:
        """Hold the job's model, as `Models.use` does; what is waited for until then is told. Raises JanError."""
        spec = self._taken.job.model
        async with AsyncExitStack() as stack:
            if self._models.serves(spec):  # and still does in the next line: nothing else gets a turn in between
                yield await stack.enter_async_context(self._models.use(spec))
                return
            async with background(self._tell_for_ever(), f"wait-{self._taken.job.id}"):
                running = await stack.enter_async_context(self._models.use(spec))
            await self._tell_end()
            yield running

    async def _tell_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            wait = self._models.wait_for(self._taken.job.model)
            if wait == self._told:
                continue
            self._told = wait or self._told  # also if it may not have been told: its end is told then
            try:
                await tell_wait(self._scripts, self._taken.lease, wait)
                self._told = wait
            except (RedisError, OSError) as error:
                logger.warning("Redis is away, a wait is not told", job=self._taken.job.id, error=str(error))

    async def _tell_end(self) -> None:
        """Its time begins now; where Redis is away the answer waits, as it would with its first word."""
        backoff = Backoff()
        while self._told is not None:
            try:
                await tell_wait(self._scripts, self._taken.lease, None)
                self._told = None
            except (RedisError, OSError) as error:
                logger.warning("Redis is away, an answer waits", job=self._taken.job.id, error=str(error))
                await backoff.wait()
