"""ImportService over the store. An import is cut into slices of work, so others are answered meanwhile."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from grpc import aio

from jan.errors import InvalidArgumentError, JanError, ResourceExhaustedError, TooLargeError
from jan.storage.v1 import imports_pb2 as pb
from jan.storage.v1.imports_pb2_grpc import ImportServiceServicer
from jan.telemetry import get_logger
from storage_service.access import Access
from storage_service.store import atomic
from storage_service.store.archive import check_room
from storage_service.store.clock import Clock, wall_clock_ms
from storage_service.store.importing.importer import MAX_UPLOAD_BYTES, Importer, Progress
from storage_service.store.importing.report import LISTS, Report
from storage_service.store.store import Store

logger = get_logger(__name__)

Context = aio.ServicerContext[Any, Any]

# Files that are on their way or wait for their turn lie on the disk meanwhile.
MOST_UPLOADS = 8
_RETRY_SECONDS = 30

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
        self._held = 0

    async def Import(
        self, request_iterator: AsyncIterator[pb.ImportRequest], context: Context
    ) -> AsyncGenerator[pb.ImportResponse, None]:
        """See imports.proto."""
        with self._place() as refusal:
            async with self._upload() as upload:
                options = await self._receive(request_iterator, upload, refusal)
                while not await _acquired(self._turn):
                    yield pb.ImportResponse(progress=pb.ImportProgress(stage="waiting"))
                importer = self._importer(upload.path, dry_run=options.dry_run)
                try:
                    async with aclosing(self._progress(importer)) as steps:
                        async for progress in steps:
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

    @contextmanager
    def _place(self) -> Iterator[JanError | None]:
        """A place among those whose files lie here; answers why there is none, if there is none."""
        if self._held >= MOST_UPLOADS:
            yield ResourceExhaustedError(
                f"{MOST_UPLOADS} imports are under way or wait already; try again later.",
                code="too_many_imports",
                retry_after_seconds=_RETRY_SECONDS,
            )
            return
        self._held += 1
        try:
            yield None
        finally:
            self._held -= 1

    async def _receive(
        self, requests: AsyncIterator[pb.ImportRequest], upload: atomic.Draft, refusal: JanError | None
    ) -> pb.ImportOptions:
        """Write what comes; answers the options. A refusal is told at the end: see `servicers.intake`."""
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
            await self._access.run(lambda: _write(upload, data))
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
            await self._end(importer, steps)

    async def _end(self, importer: Importer, steps: Generator[Progress, None, None]) -> None:
        """Leave nothing half done: what is being published is published to its end, whoever left meanwhile."""
        try:
            while importer.is_publishing and await self._access.run(lambda: _slice(steps)) is not None:
                pass
        except JanError as error:
            logger.warning("an import whose client left was not published whole", reason=error.message)
        finally:
            await self._access.run(steps.close)
            await self._access.run(importer.discard)


def _write(upload: atomic.Draft, data: bytes) -> None:
    """Add a piece. Raises StorageFullError: others need what is left of the disk."""
    check_room(upload.path.parent, len(data))
    upload.write(data)


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
