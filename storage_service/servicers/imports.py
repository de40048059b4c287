"""ImportService over the store. An import is cut into slices of work, so others are answered meanwhile."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from grpc import aio

from jan.errors import InvalidArgumentError, JanError, TooLargeError
from jan.storage.v1 import imports_pb2 as pb
from jan.storage.v1.imports_pb2_grpc import ImportServiceServicer
from storage_service.access import Access
from storage_service.store import atomic
from storage_service.store.clock import Clock, wall_clock_ms
from storage_service.store.importing.importer import MAX_UPLOAD_BYTES, Importer, Progress
from storage_service.store.importing.report import LISTS, Report
from storage_service.store.store import Store

Context = aio.ServicerContext[Any, Any]

# How long a worker of the pool is held at a time.
_SLICE_SECONDS = 0.05
_TELL_SECONDS = 0.2
# A caller that hears nothing for half a minute takes the service for stuck.
_WAITING_SECONDS = 5.0


class ImportServicer(ImportServiceServicer):
    """See imports.proto."""

    def __init__(self, access: Access, store: Store, clock: Clock = wall_clock_ms) -> None:
        self._access = access
        self._store = store
        self._clock = clock
        # Two imports at once could choose the same free name.
        self._turn = asyncio.Lock()
        self._count = 0

    async def Import(
        self, request_iterator: AsyncIterator[pb.ImportRequest], context: Context
    ) -> AsyncGenerator[pb.ImportResponse, None]:
        """See imports.proto."""
        async with self._upload() as upload:
            options = await self._receive(request_iterator, upload)
            while not await _acquired(self._turn):
                yield pb.ImportResponse(progress=pb.ImportProgress(stage="waiting"))
            importer = self._importer(upload.path, dry_run=options.dry_run)
            try:
                async for progress in self._progress(importer):
                    yield pb.ImportResponse(progress=to_progress(progress))
            finally:
                self._turn.release()
        yield pb.ImportResponse(report=to_report(importer.report))

    @asynccontextmanager
    async def _upload(self) -> AsyncIterator[atomic.Draft]:
        """A file that nobody sees, and that is gone in the end."""
        self._count += 1
        path = self._store.layout.staging / f"import-{self._count}.upload"
        uploads: list[atomic.Draft] = []
        try:
            # A caller that leaves during this call leaves a file that is made all the same, and is to be found here.
            await self._access.run(lambda: uploads.append(atomic.Draft(path)))
            yield uploads[0]
        finally:
            for upload in uploads:
                await self._access.run(upload.discard)

    async def _receive(self, requests: AsyncIterator[pb.ImportRequest], upload: atomic.Draft) -> pb.ImportOptions:
        """Write what comes; answers the options. A refusal is told at the end: see `servicers.files`."""
        refusal: JanError | None = None
        async for request in requests:
            if request.HasField("options"):
                if refusal is not None:
                    raise refusal
                await self._access.run(upload.close)
                return request.options
            if refusal is None:
                refusal = await self._write(upload, request.data)
        raise InvalidArgumentError("The upload ended before it was whole.", code="incomplete_upload")

    async def _write(self, upload: atomic.Draft, data: bytes) -> JanError | None:
        try:
            if upload.size + len(data) > MAX_UPLOAD_BYTES:
                raise TooLargeError(f"A file to import may have at most {MAX_UPLOAD_BYTES} bytes.", param="file")
            await self._access.run(lambda: upload.write(data))
        except JanError as error:
            await self._access.run(upload.discard)
            return error
        return None

    def _importer(self, source: Path, *, dry_run: bool) -> Importer:
        return Importer(self._store, self._clock, source.with_suffix(".work"), source, dry_run=dry_run)

    async def _progress(self, importer: Importer) -> AsyncGenerator[Progress, None]:
        """Import; how far it is comes at once and then from time to time."""
        steps = importer.steps()
        told_at = 0.0
        try:
            progress = await self._access.run(lambda: next(steps, None))
            while progress is not None:
                if time.monotonic() - told_at >= _TELL_SECONDS:
                    told_at = time.monotonic()
                    yield progress
                progress = await self._access.run(lambda: _slice(steps))
        finally:
            await self._access.run(steps.close)
            await self._access.run(importer.discard)


def _slice(steps: Iterator[Progress]) -> Progress | None:
    """Work for a short time; None when there is no more to do."""
    end = time.monotonic() + _SLICE_SECONDS
    for progress in steps:
        if time.monotonic() >= end:
            return progress
    return None


async def _acquired(turn: asyncio.Lock) -> bool:
    """Wait for the turn, but not for long."""
    try:
        async with asyncio.timeout(_WAITING_SECONDS):
            return await turn.acquire()
    except TimeoutError:
        return False


def to_report(report: Report) -> pb.ImportReport:
    """A report for the wire."""
    lists = {name: [_item(item) for item in report.lists[name]] for name in LISTS}
    return pb.ImportReport(
        dry_run=report.dry_run, kind=report.kind, quarantine=report.quarantine, counts=report.counts, **lists
    )


def _item(item: dict[str, str]) -> pb.ImportItem:
    return pb.ImportItem(**{{"from": "from_id", "to": "id"}.get(key, key): value for key, value in item.items()})


def to_progress(progress: Progress) -> pb.ImportProgress:
    """Progress for the wire."""
    return pb.ImportProgress(stage=progress.stage, done=progress.done, total=progress.total)
