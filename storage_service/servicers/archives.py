"""ArchiveService over the store. Archives are made piece by piece, as their readers take them."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import aclosing
from typing import Any, TypeVar

from grpc import aio

from jan.ids import ThreadId
from jan.storage.v1 import archives_pb2 as pb
from jan.storage.v1.archives_pb2_grpc import ArchiveServiceServicer
from storage_service.access import Access
from storage_service.store.exports import thread as thread_export
from storage_service.store.exports.alone import Alone
from storage_service.store.store import Store

Context = aio.ServicerContext[Any, Any]
Result = TypeVar("Result")

PIECE_BYTES = 256 * 1024


class ArchiveServicer(ArchiveServiceServicer):
    """See archives.proto. `work`: workers for these long reads alone, so that everybody else has `access`'s."""

    def __init__(self, access: Access, work: Access, store: Store) -> None:
        self._access = access
        self._work = work
        self._store = store

    async def ExportThread(
        self, request: pb.ExportThreadRequest, context: Context
    ) -> AsyncGenerator[pb.ExportThreadResponse, None]:
        """See archives.proto."""
        thread_id = ThreadId.parse(request.thread_id)
        async with aclosing(self._pieces(thread_export.pieces(self._store, thread_id, self._alone()))) as pieces:
            async for data in pieces:
                yield pb.ExportThreadResponse(data=data)

    async def _pieces(self, chunks: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
        """The chunks in pieces of a length that travels well, each made when it is asked for."""
        pieces = _pieces(chunks)
        try:
            while data := await self._work.run(lambda: next(pieces, b"")):
                yield data
        finally:
            await self._work.run(pieces.close)

    def _alone(self) -> Alone:
        """For the workers: waits there until no writer has the thread, and does the work as they do."""
        loop = asyncio.get_running_loop()

        def alone(thread_id: str, work: Callable[[], Result]) -> Result:
            return asyncio.run_coroutine_threadsafe(self._access.run_alone(thread_id, work), loop).result()

        return alone


def _pieces(chunks: Iterator[bytes]) -> Generator[bytes, None, None]:
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        if len(waiting) >= PIECE_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)
