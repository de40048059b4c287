"""Keeps the answers of streamed chats that were asked for with `store`, whoever reads them.

A stream's end is told only when its answer is on the disk: its reader waits here. What was sent is remembered in Redis
until then, so that a gateway which takes the stream up after another died keeps it just as well.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from functools import partial

from gateway.completions.gathered import GatheredChat
from gateway.completions.resumable import Chats
from gateway.completions.stored import to_proto
from gateway.queueing.jobs import JobClient
from gateway.services.completions import CompletionClient
from jan.backoff import Backoff
from jan.errors import DeadlineExceededError, JanError, UnavailableError
from jan.queue.jobs import POISON
from jan.telemetry import get_logger

logger = get_logger(__name__)

# How long a whole answer waits for storage, and its reader for the end.
STORAGE_PATIENCE_SECONDS = 15.0
# Longer answers are kept one at a time: on its way to storage each is in memory several times.
LONG_BYTES = 256 * 1024

Settled = Callable[[], Awaitable[None]]
"""Returns when a chat is kept, or has ended without a whole answer. Raises JanError: it could not be kept."""


class _GivenUpError(Exception):
    """The chat is a dead letter."""


class Keeper:
    """Follows each such chat in a task of its own; made once for the application."""

    def __init__(self, jobs: JobClient, chats: Chats, completions: CompletionClient) -> None:
        self._jobs = jobs
        self._chats = chats
        self._completions = completions
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._keeping_long = asyncio.Lock()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Chats are followed meanwhile; those still unfinished at the end are left to whoever takes them up."""
        try:
            yield
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def follow(self, completion_id: str, kept: bytes) -> Settled:
        """Keep a chat once it is whole; its job was submitted. Answers what waits for that."""
        task = self._tasks.get(completion_id)
        if task is None:
            task = asyncio.create_task(self._keep(completion_id, kept), name=f"keep-{completion_id}")
            self._tasks[completion_id] = task
            task.add_done_callback(lambda done: self._done(completion_id, done))
        return partial(_settled, task)

    async def take_up(self, completion_id: str) -> Settled | None:
        """The same for a chat that any gateway began; None when there is nothing to keep. Raises UnavailableError."""
        kept = await self._chats.kept(completion_id)
        return None if kept is None else self.follow(completion_id, kept)

    async def _keep(self, completion_id: str, kept: bytes) -> None:
        try:
            chat = await self._heard(completion_id)
        except _GivenUpError:
            return  # an admin may have it answered again, as long as what was sent is remembered
        if chat.is_complete and await self._chats.is_remembered(completion_id):
            await self._create(completion_id, kept, chat)
        await self._chats.drop_kept(completion_id)

    async def _create(self, completion_id: str, kept: bytes, chat: GatheredChat) -> None:
        """Keep an answer; a storage that is started again meanwhile costs nobody its end. It keeps each id once."""
        backoff, give_up_at = Backoff(), time.monotonic() + STORAGE_PATIENCE_SECONDS
        while True:
            try:
                async with self._keeping_long if chat.heard_bytes > LONG_BYTES else nullcontext():
                    await self._completions.create(to_proto(kept, chat.whole()))
                return
            except (UnavailableError, DeadlineExceededError) as error:
                if time.monotonic() >= give_up_at:
                    raise
                logger.warning("chat waits to be kept", completion=completion_id, error=str(error))
            await backoff.wait()

    async def _heard(self, completion_id: str) -> GatheredChat:
        """All that a chat said."""
        chat = GatheredChat()
        async with self._jobs.followed(completion_id) as events:
            async for batch in events.batches():
                for event in batch:
                    if event.failed.error.code == POISON:
                        raise _GivenUpError
                    chat.hear(event)
                if chat.is_complete:
                    break
        return chat

    def _done(self, completion_id: str, task: asyncio.Task[None]) -> None:
        del self._tasks[completion_id]
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, JanError):
            logger.warning("chat not kept", completion=completion_id, error=str(error))
        elif error is not None:
            logger.error("chat not kept", completion=completion_id, exc_info=error)


async def _settled(task: asyncio.Task[None]) -> None:
    await asyncio.wait({task})
    if task.cancelled():
        raise UnavailableError("The server is leaving; take the stream up again.", retry_after_seconds=1)
    task.result()
