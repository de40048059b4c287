"""FileService over the store. Bytes move in pieces, a thread of the pool for each, so a slow client holds none."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from grpc import aio

from jan.errors import InvalidArgumentError
from jan.ids import FileId, MessageFileId, MessageId, ThreadId
from jan.storage.v1 import files_pb2 as pb
from jan.storage.v1.files_pb2_grpc import FileServiceServicer
from storage_service.access import Access
from storage_service.servicers import values
from storage_service.servicers.intake import Intake
from storage_service.store.files import OpenFile, Upload
from storage_service.store.records import File, MessageFile
from storage_service.store.store import Store

Context = aio.ServicerContext[Any, Any]

PIECE_BYTES = 256 * 1024


class FileServicer(FileServiceServicer):
    """See files.proto."""

    def __init__(self, access: Access, store: Store) -> None:
        self._access = access
        self._files = store.files
        self._of_messages = store.message_files

    async def CreateFile(
        self, request_iterator: AsyncIterator[pb.CreateFileRequest], context: Context
    ) -> pb.CreateFileResponse:
        """See files.proto."""
        async with self._upload() as upload:
            intake = Intake(self._access, upload)
            async for request in request_iterator:
                if request.HasField("file"):
                    intake.check()
                    return pb.CreateFileResponse(file=to_proto(await self._finish(upload, request.file)))
                await intake.write(request.data)
        raise InvalidArgumentError("The upload ended before it said what it is.", code="incomplete_upload")

    async def GetFile(self, request: pb.GetFileRequest, context: Context) -> pb.GetFileResponse:
        """See files.proto."""
        file_id = FileId.parse(request.file_id)
        return pb.GetFileResponse(file=to_proto(await self._access.run(lambda: self._files.get(file_id))))

    async def ListFiles(self, request: pb.ListFilesRequest, context: Context) -> pb.ListFilesResponse:
        """See files.proto."""
        query = values.page_query(request.page)
        page = await self._access.run(lambda: self._files.page(query, request.purpose))
        return pb.ListFilesResponse(files=map(to_proto, page.items), has_more=page.has_more)

    async def DeleteFile(self, request: pb.DeleteFileRequest, context: Context) -> pb.DeleteFileResponse:
        """See files.proto."""
        file_id = FileId.parse(request.file_id)
        await self._access.run_alone(file_id, lambda: self._files.delete(file_id))
        return pb.DeleteFileResponse()

    async def ReadFile(
        self, request: pb.ReadFileRequest, context: Context
    ) -> AsyncGenerator[pb.ReadFileResponse, None]:
        """See files.proto."""
        file_id = FileId.parse(request.file_id)
        opened = OpenFile()
        try:
            file = await self._access.run(lambda: self._files.open(file_id, opened))
            yield pb.ReadFileResponse(file=to_proto(file), revision=opened.revision)
            async for data in self._pieces(opened, request.range):
                yield pb.ReadFileResponse(data=data)
        finally:
            opened.close()

    async def ListMessageFiles(
        self, request: pb.ListMessageFilesRequest, context: Context
    ) -> pb.ListMessageFilesResponse:
        """See files.proto."""
        thread_id, message_id = ThreadId.parse(request.thread_id), MessageId.parse(request.message_id)
        query = values.page_query(request.page)
        page = await self._access.run(lambda: self._of_messages.page(thread_id, message_id, query))
        return pb.ListMessageFilesResponse(files=map(message_file_to_proto, page.items), has_more=page.has_more)

    async def GetMessageFile(self, request: pb.GetMessageFileRequest, context: Context) -> pb.GetMessageFileResponse:
        """See files.proto."""
        where = _message_file(request)
        file = await self._access.run(lambda: self._of_messages.get(*where))
        return pb.GetMessageFileResponse(file=message_file_to_proto(file))

    async def ReadMessageFile(
        self, request: pb.ReadMessageFileRequest, context: Context
    ) -> AsyncGenerator[pb.ReadMessageFileResponse, None]:
        """See files.proto."""
        where = _message_file(request)
        opened = OpenFile()
        try:
            file = await self._access.run(lambda: self._of_messages.open(*where, opened))
            yield pb.ReadMessageFileResponse(file=message_file_to_proto(file), revision=opened.revision)
            async for data in self._pieces(opened, request.range):
                yield pb.ReadMessageFileResponse(data=data)
        finally:
            opened.close()

    @asynccontextmanager
    async def _upload(self) -> AsyncIterator[Upload]:
        """An upload that leaves nothing behind when it is not finished, whatever broke it off."""
        upload = self._files.begin()
        try:
            yield upload
        finally:
            await self._access.run(upload.discard)

    async def _finish(self, upload: Upload, new: pb.NewFile) -> File:
        file = File(FileId.parse(new.id), new.filename, new.purpose, size_bytes=0, created_ms=0)
        lifetime_ms = new.expires_after_seconds * 1000 or None
        return await self._access.run_alone(file.id, lambda: self._files.finish(upload, file, lifetime_ms))

    async def _pieces(self, opened: OpenFile, wanted: pb.ByteRange) -> AsyncGenerator[bytes, None]:
        """The bytes of a range, of which nothing is said for the whole file."""
        is_meant = wanted.if_revision in ("", opened.revision)
        span = opened.span(wanted.offset, wanted.length) if is_meant else range(opened.size_bytes)
        for offset in span[::PIECE_BYTES]:
            length = min(PIECE_BYTES, span.stop - offset)
            yield await self._access.run(lambda at=offset, length=length: opened.read(at, length))  # type: ignore[misc]


def to_proto(file: File) -> pb.File:
    """A file for the wire."""
    return pb.File(
        id=file.id,
        filename=file.filename,
        purpose=file.purpose,
        size_bytes=file.size_bytes,
        created_at=values.timestamp(file.created_ms),
        expires_at=values.timestamp(file.expires_ms),
    )


def message_file_to_proto(file: MessageFile) -> pb.MessageFile:
    """A message's file for the wire."""
    return pb.MessageFile(
        id=file.id,
        message_id=file.message_id,
        created_at=values.timestamp(file.created_ms),
        filename=file.filename,
        size_bytes=file.size_bytes,
    )


def _message_file(
    request: pb.GetMessageFileRequest | pb.ReadMessageFileRequest,
) -> tuple[ThreadId, MessageId, MessageFileId]:
    return (
        ThreadId.parse(request.thread_id),
        MessageId.parse(request.message_id),
        MessageFileId.parse(request.file_id),
    )
