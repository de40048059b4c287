"""AssistantImportService over the store: takes in what clients upload and what gateways download."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from grpc import aio

from jan.errors import InvalidArgumentError, JanError, NotFoundError
from jan.ids import AssistantId
from jan.rpc import ACCEPTED
from jan.storage.v1 import assistant_imports_pb2 as pb
from jan.storage.v1.assistant_imports_pb2_grpc import AssistantImportServiceServicer
from jan.telemetry import get_logger
from storage_service.access import Access
from storage_service.downloads import Download, Downloads
from storage_service.servicers.assistants import LOCK, AssistantView
from storage_service.servicers.intake import Intake
from storage_service.store.assistant_imports import Arrival, AssistantImports
from storage_service.store.records import Assistant, DownloadError

logger = get_logger(__name__)

Context = aio.ServicerContext[Any, Any]
Parts = AsyncIterator[pb.ImportAssistantRequest]

_INTERRUPTED = DownloadError("download_interrupted", "The download broke off; start it again.")
_CANCELLED = DownloadError("download_cancelled", "The download was cancelled.")


class AssistantImportServicer(AssistantImportServiceServicer):
    """See assistant_imports.proto."""

    def __init__(self, access: Access, imports: AssistantImports, downloads: Downloads, view: AssistantView) -> None:
        self._access = access
        self._imports = imports
        self._downloads = downloads
        self._view = view

    async def RegisterAssistant(
        self, request: pb.RegisterAssistantRequest, context: Context
    ) -> pb.RegisterAssistantResponse:
        """See assistant_imports.proto."""
        if not request.source_url:
            raise InvalidArgumentError("An assistant to download needs a URL.", param="url")
        wanted = AssistantId.parse(request.assistant_id) if request.assistant_id else None
        stored = await self._alone(lambda: self._imports.register(wanted, request.source_url))
        return pb.RegisterAssistantResponse(assistant=await self._view.of(stored))

    async def ImportAssistant(self, request_iterator: Parts, context: Context) -> pb.ImportAssistantResponse:
        """See assistant_imports.proto."""
        parts = aiter(request_iterator)
        first = await anext(parts, pb.ImportAssistantRequest())
        if first.HasField("download_id"):
            assistant_id = AssistantId.parse(first.download_id)
            # First: one that has just arrived is here, although its download is about to end.
            await self._access.run(lambda: self._imports.check_waits(assistant_id))
            with self._downloads.running(assistant_id) as download:
                await self._download(assistant_id, download, parts, context)
            return pb.ImportAssistantResponse(assistant=await self._view.get(assistant_id))
        return pb.ImportAssistantResponse(assistant=await self._view.of(await self._upload(first, parts)))

    async def CancelDownload(self, request: pb.CancelDownloadRequest, context: Context) -> pb.CancelDownloadResponse:
        """See assistant_imports.proto."""
        assistant_id = AssistantId.parse(request.assistant_id)
        await self._downloads.cancel(assistant_id)
        return pb.CancelDownloadResponse(assistant=await self._view.get(assistant_id))

    async def _upload(self, first: pb.ImportAssistantRequest, parts: Parts) -> Assistant:
        """An assistant as a client sent it."""
        part: pb.ImportAssistantRequest | None = first
        async with self._arrival() as arrival:
            intake = Intake(self._access, arrival)
            while part is not None:
                if part.HasField("end"):
                    intake.check()
                    return await self._put(arrival, part.end)
                await intake.write(part.data)
                part = await anext(parts, None)
        raise InvalidArgumentError("The upload ended before it was whole.", code="incomplete_upload")

    async def _download(self, assistant_id: AssistantId, download: Download, parts: Parts, context: Context) -> None:
        """A download from its acceptance to its end; how it ended is written down, whatever ended it."""
        await self._alone(lambda: self._imports.start(assistant_id))
        await context.send_initial_metadata((ACCEPTED,))
        download.task = asyncio.create_task(self._receive(assistant_id, download, parts), name="download")
        if download.is_cancelled:
            download.task.cancel()
        failure: DownloadError | None = _INTERRUPTED
        try:
            failure = await download.task
        except asyncio.CancelledError:
            if _is_being_cancelled():  # the gateway went away
                raise
            failure = _CANCELLED if download.is_cancelled else _INTERRUPTED
        except JanError as error:
            failure = DownloadError(error.code or error.kind, error.message)
        finally:
            if failure is not None:
                await self._fail(assistant_id, failure)

    async def _receive(self, assistant_id: AssistantId, download: Download, parts: Parts) -> DownloadError | None:
        """Take the bytes in and put them in their place; answers why that could not be."""
        async with self._arrival() as arrival:
            async for part in parts:
                if part.HasField("end"):
                    if part.end.HasField("error"):
                        return DownloadError(part.end.error.code, part.end.error.message)
                    await self._arrive(arrival, assistant_id)
                    return None
                await self._access.run(lambda data=part.data: arrival.write(data))  # type: ignore[misc]
                download.received_bytes += len(part.data)
        return _INTERRUPTED

    async def _put(self, arrival: Arrival, end: pb.ImportEnd) -> Assistant:
        wanted, nameless = _optional_id(end.assistant_id), _optional_id(end.new_id)
        arrived = await self._access.run(arrival.unpack)
        return await self._alone(lambda: self._imports.put(arrived, wanted, nameless))

    async def _arrive(self, arrival: Arrival, assistant_id: AssistantId) -> None:
        arrived = await self._access.run(arrival.unpack)
        await self._alone(lambda: self._imports.arrive(arrived, assistant_id))

    async def _fail(self, assistant_id: AssistantId, error: DownloadError) -> None:
        """Write down why a download failed; nobody needs to know of an assistant that was deleted meanwhile."""
        try:
            await self._alone(lambda: self._imports.fail(assistant_id, error))
        except NotFoundError:
            return
        except JanError as problem:
            logger.warning("a failed download could not be written down", reason=problem.message)

    @asynccontextmanager
    async def _arrival(self) -> AsyncIterator[Arrival]:
        """Something on its way in that leaves nothing behind, whatever breaks it off."""
        arrival = self._imports.begin()
        try:
            yield arrival
        finally:
            await self._access.run(arrival.discard)

    async def _alone(self, work: Callable[[], Assistant]) -> Assistant:
        return await self._access.run_alone(LOCK, work)


def _optional_id(text: str) -> AssistantId | None:
    return AssistantId.parse(text) if text else None


def _is_being_cancelled() -> bool:
    """Whether it is this task that somebody ends, and not one that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
