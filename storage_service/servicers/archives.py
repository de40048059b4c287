"""ArchiveService over the store. Archives are made piece by piece, as their readers take them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing
from itertools import islice
from typing import Any, TypeVar

from grpc import aio

from jan.errors import InvalidArgumentError, JanError
from jan.ids import ThreadId
from jan.storage.v1 import archives_pb2 as pb
from jan.storage.v1.archives_pb2_grpc import ArchiveServiceServicer
from storage_service.access import Access
from storage_service.servicers import intake, values
from storage_service.servicers.intake import Intake
from storage_service.store.clock import wall_clock_ms
from storage_service.store.exports import janroot as janroot_export
from storage_service.store.exports import thread as thread_export
from storage_service.store.exports.alone import Alone
from storage_service.store.exports.janroot import Summary, Survey
from storage_service.store.exports.rules import Kind, Rules
from storage_service.store.restoring.backup import Contents
from storage_service.store.restoring.restores import Restore
from storage_service.store.store import Store

Context = aio.ServicerContext[Any, Any]
Result = TypeVar("Result")

PIECE_BYTES = 256 * 1024

_MAX_INT_32 = 2**31 - 1

_KINDS = {pb.ARCHIVE_KIND_EXPORT: Kind.EXPORT, pb.ARCHIVE_KIND_BACKUP: Kind.BACKUP}


class ArchiveServicer(ArchiveServiceServicer):
    """See archives.proto.

    work: workers for these long reads alone, so that everybody else has `access`'s. leave: has the service started
    again.
    """

    def __init__(self, access: Access, work: Access, store: Store, leave: Callable[[], None]) -> None:
        self._leave = leave
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

    async def ExportJanroot(
        self, request: pb.ExportJanrootRequest, context: Context
    ) -> AsyncGenerator[pb.ExportJanrootResponse, None]:
        """See archives.proto."""
        kind = _KINDS.get(request.kind)
        if kind is None:
            raise InvalidArgumentError("An archive needs a kind.", param="kind")
        where, rules = self._store.layout, Rules(kind, request.weights)
        survey = Survey(where, rules)
        async with aclosing(self._steps(survey.steps())) as steps:
            async for _ in steps:
                yield pb.ExportJanrootResponse()
        threads = len(await self._access.run(self._store.threads.order.ids))
        yield pb.ExportJanrootResponse(summary=_summary_to_proto(survey.summary, threads))
        now_ms = wall_clock_ms()
        about = janroot_export.manifest(rules, survey.summary, threads, now_ms)
        chunks = janroot_export.pieces(where, rules, about, self._alone(), now_ms)
        async with aclosing(self._pieces(chunks)) as pieces:
            async for data in pieces:
                yield pb.ExportJanrootResponse(data=data)

    async def CheckRestore(self, request: pb.CheckRestoreRequest, context: Context) -> pb.CheckRestoreResponse:
        """See archives.proto."""
        restores = self._store.restores
        await self._work.run(lambda: restores.check(request.archive_bytes, dry_run=request.dry_run))
        return pb.CheckRestoreResponse()

    async def RestoreJanroot(
        self, request_iterator: AsyncIterator[pb.RestoreJanrootRequest], context: Context
    ) -> pb.RestoreJanrootResponse:
        """See archives.proto."""
        try:
            restore = self._store.restores.begin()
        except JanError:
            await intake.hear_out(request_iterator)
            raise
        try:
            taken = Intake(self._work, restore)
            async for request in request_iterator:
                if request.HasField("end"):
                    taken.check()
                    return await self._finish(restore, request.end, context)
                await taken.write(request.data)
            taken.check()
        finally:
            await self._work.run(restore.discard)
        raise InvalidArgumentError("The backup ended before its end was said.", code="incomplete_upload")

    async def _finish(self, restore: Restore, end: pb.EndOfBackup, context: Context) -> pb.RestoreJanrootResponse:
        if end.dry_run:
            return _restored_to_proto(await self._work.run(restore.check))
        # A caller that leaves during this is told of no restore, and there will be none.
        contents = await self._work.run(restore.unpack)
        with values.leaving_if_promised(context, self._store.restores, self._leave):
            trash_id = await self._work.run(lambda: restore.promise(contents))
        return _restored_to_proto(contents, trash_id)

    async def _pieces(self, chunks: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
        """The chunks in pieces of a length that travels well, each made when it is asked for."""
        async with aclosing(self._steps(_pieces(chunks))) as pieces:
            async for data in pieces:
                yield data

    async def _steps(self, steps: Generator[Result, None, None]) -> AsyncGenerator[Result, None]:
        """What a generator yields, each step taken by a worker when it is asked for."""
        try:
            while found := await self._work.run(lambda: [*islice(steps, 1)]):
                yield found[0]
        finally:
            await self._work.run(steps.close)

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


def _summary_to_proto(summary: Summary, threads: int) -> pb.ArchiveSummary:
    return pb.ArchiveSummary(
        archive_bytes=summary.archive_bytes,
        threads=threads,
        files=summary.files,
        file_bytes=summary.bytes,
        left_out_count=summary.left_out_count,
    )


def _restored_to_proto(contents: Contents, trash_id: str = "") -> pb.RestoreJanrootResponse:
    return pb.RestoreJanrootResponse(
        created_at=values.timestamp(contents.created_at * 1000),
        threads=min(contents.threads, _MAX_INT_32),
        files=contents.files,
        file_bytes=contents.bytes,
        weights=contents.weights,
        trash_id=trash_id,
    )
