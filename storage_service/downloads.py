"""Which assistants are being downloaded at this moment: those whose bytes a gateway is sending.

Kept in memory alone, and tied to the stream: a gateway or a storage service that is killed leaves nothing behind that
would say `downloading` for ever.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from jan.errors import ConflictError
from jan.ids import AssistantId
from storage_service.store.records import DownloadError


class Download:
    """A download under way."""

    def __init__(self) -> None:
        self.received_bytes = 0
        self.is_cancelled = False
        self.ended = asyncio.Event()
        self.task: asyncio.Task[DownloadError | None] | None = None
        """Takes the bytes in."""

    def cancel(self) -> None:
        """End it, because somebody asked for that."""
        self.is_cancelled = True
        if self.task is not None:
            self.task.cancel()


class Downloads:
    """The downloads under way, by assistant. For the event loop's thread alone."""

    def __init__(self) -> None:
        self._running: dict[AssistantId, Download] = {}

    @contextmanager
    def running(self, assistant_id: AssistantId) -> Iterator[Download]:
        """While this is open, the assistant is being downloaded. Raises ConflictError: it is already."""
        if assistant_id in self._running:
            raise ConflictError(f"The assistant '{assistant_id}' is being downloaded already.", code="download_running")
        download = self._running[assistant_id] = Download()
        try:
            yield download
        finally:
            del self._running[assistant_id]
            download.ended.set()

    def all(self) -> Mapping[AssistantId, Download]:
        """Those under way at this moment."""
        return dict(self._running)

    async def close(self) -> None:
        """Break off what is under way, while there is still time to write that down."""
        for download in list(self._running.values()):
            if download.task is not None:
                download.task.cancel()
            await download.ended.wait()

    async def cancel(self, assistant_id: AssistantId) -> None:
        """End an assistant's download, if one is under way; it has ended on return."""
        download = self._running.get(assistant_id)
        if download is not None:
            download.cancel()
            await download.ended.wait()
