"""Downloads of assistants: the gateway fetches, storage keeps. Each is a task that the application owns.

What a download comes to is written down by storage, in the assistant itself; so nobody waits for these tasks, and a
gateway that is killed leaves no state that is not true (see `storage_service/downloads.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from gateway.fetching.fetch import Fetcher, Limits
from gateway.http.uploads import MAX_FILE_BYTES
from gateway.services.storage import StorageClient
from jan.errors import JanError, ResourceExhaustedError
from jan.storage.v1 import assistant_imports_pb2, assistants_pb2
from jan.tasks import end
from jan.telemetry import get_logger

logger = get_logger(__name__)

MAX_AT_ONCE = 4
LIMITS = Limits(max_bytes=MAX_FILE_BYTES)


class AssistantDownloads:
    """Starts downloads, at most four at once in one gateway, and ends them with it."""

    def __init__(self, fetcher: Fetcher, storage: StorageClient) -> None:
        self.fetcher = fetcher
        self._storage = storage
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Downloads may be started while this is open; those under way at its end break off."""
        try:
            yield
        finally:
            for task in list(self._tasks):
                await end(task)

    def check_room(self) -> None:
        """Raises ResourceExhaustedError: four are under way."""
        if len(self._tasks) >= MAX_AT_ONCE:
            raise ResourceExhaustedError(
                f"{MAX_AT_ONCE} downloads are under way, which is the most; try again.", retry_after_seconds=10
            )

    async def start(self, assistant: assistants_pb2.Assistant) -> None:
        """Begin a download; on return storage calls the assistant `downloading`, or the download is over already.

        Raises ResourceExhaustedError. JanError: storage does not want it, for example because it runs elsewhere.
        """
        self.check_room()
        accepted = asyncio.Event()
        task = asyncio.create_task(self._download(assistant, accepted), name=f"download {assistant.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        waiting = asyncio.create_task(accepted.wait(), name="download accepted")
        try:
            await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if task.done():
            task.result()

    async def _download(self, assistant: assistants_pb2.Assistant, accepted: asyncio.Event) -> None:
        try:
            async with aclosing(self._parts(assistant)) as parts:
                stored = await self._storage.import_assistant(parts, accepted.set)
        except JanError as error:
            if not accepted.is_set():
                raise
            logger.info("download broke off", assistant=assistant.id, reason=error.message)
            return
        logger.info("download over", assistant=assistant.id, code=stored.error.code)

    async def _parts(
        self, assistant: assistants_pb2.Assistant
    ) -> AsyncGenerator[assistant_imports_pb2.ImportAssistantRequest, None]:
        """The download as storage takes it: whose it is, the bytes as they come, how it ended."""
        yield assistant_imports_pb2.ImportAssistantRequest(download_id=assistant.id)
        ended = assistant_imports_pb2.ImportEnd()
        try:
            async with aclosing(self.fetcher.fetch(assistant.source_url, LIMITS)) as pieces:
                async for data in pieces:
                    yield assistant_imports_pb2.ImportAssistantRequest(data=data)
        except JanError as error:
            reason = assistants_pb2.DownloadError(code=error.code or error.kind, message=error.message)
            ended.error.CopyFrom(reason)
        yield assistant_imports_pb2.ImportAssistantRequest(end=ended)
