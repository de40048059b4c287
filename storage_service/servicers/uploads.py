"""UploadService over the store. Pieces are written by many, uploads are changed by few: those may copy gigabytes."""

from collections.abc import AsyncIterator
from typing import Any

from grpc import aio

from jan.errors import InvalidArgumentError
from jan.ids import UploadId, UploadPartId
from jan.storage.v1 import uploads_pb2 as pb
from jan.storage.v1.uploads_pb2_grpc import UploadServiceServicer
from storage_service.access import Access
from storage_service.servicers import values
from storage_service.servicers.files import to_proto as file_to_proto
from storage_service.servicers.intake import Intake
from storage_service.store.files import Upload as Draft
from storage_service.store.records import File
from storage_service.store.store import Store
from storage_service.store.uploads.records import Part, Upload

Context = aio.ServicerContext[Any, Any]


class UploadServicer(UploadServiceServicer):
    """See uploads.proto."""

    def __init__(self, writing: Access, changing: Access, store: Store) -> None:
        self._writing = writing
        self._changing = changing
        self._uploads = store.uploads

    async def CreateUpload(self, request: pb.CreateUploadRequest, context: Context) -> pb.CreateUploadResponse:
        """See uploads.proto."""
        upload = from_proto(request.upload)
        made = await self._changing.run_alone(upload.id, lambda: self._uploads.create(upload))
        return pb.CreateUploadResponse(upload=to_proto(made))

    async def AddUploadPart(
        self, request_iterator: AsyncIterator[pb.AddUploadPartRequest], context: Context
    ) -> pb.AddUploadPartResponse:
        """See uploads.proto."""
        draft = self._uploads.begin_part()
        try:
            intake = Intake(self._writing, draft)
            async for request in request_iterator:
                if request.HasField("part"):
                    intake.check()
                    return pb.AddUploadPartResponse(part=part_to_proto(await self._add(request.part, draft)))
                await intake.write(request.data)
        finally:
            await self._writing.run(draft.discard)
        raise InvalidArgumentError("The part ended before it said what it is.", code="incomplete_upload")

    async def _add(self, part: pb.UploadPart, draft: Draft) -> Part:
        upload_id, part_id = UploadId.parse(part.upload_id), UploadPartId.parse(part.id)
        return await self._changing.run_alone(upload_id, lambda: self._uploads.add_part(upload_id, part_id, draft))

    async def CompleteUpload(self, request: pb.CompleteUploadRequest, context: Context) -> pb.CompleteUploadResponse:
        """See uploads.proto."""
        upload_id = UploadId.parse(request.upload_id)
        part_ids = [*map(UploadPartId.parse, request.part_ids)]
        upload, file = await self._changing.run_alone(
            upload_id, lambda: self._uploads.complete(upload_id, part_ids, request.md5)
        )
        return pb.CompleteUploadResponse(upload=to_proto(upload, file))

    async def CancelUpload(self, request: pb.CancelUploadRequest, context: Context) -> pb.CancelUploadResponse:
        """See uploads.proto."""
        upload_id = UploadId.parse(request.upload_id)
        cancelled = await self._changing.run_alone(upload_id, lambda: self._uploads.cancel(upload_id))
        return pb.CancelUploadResponse(upload=to_proto(cancelled))


def to_proto(upload: Upload, file: File | None = None) -> pb.Upload:
    """An upload for the wire."""
    return pb.Upload(
        id=upload.id,
        filename=upload.filename,
        purpose=upload.purpose,
        size_bytes=upload.size_bytes,
        mime_type=upload.mime_type,
        expires_after_seconds=upload.file_lifetime_seconds,
        created_at=values.timestamp(upload.created_ms),
        expires_at=values.timestamp(upload.expires_ms),
        status=pb.UploadStatus.Value(f"UPLOAD_STATUS_{upload.status.name}"),
        file=None if file is None else file_to_proto(file),
    )


def from_proto(upload: pb.Upload) -> Upload:
    """A new upload from the wire. Raises InvalidArgumentError: it is none."""
    return Upload(
        id=UploadId.parse(upload.id),
        filename=upload.filename,
        purpose=upload.purpose,
        size_bytes=upload.size_bytes,
        mime_type=upload.mime_type,
        file_lifetime_seconds=upload.expires_after_seconds,
    )


def part_to_proto(part: Part) -> pb.UploadPart:
    """A part for the wire."""
    return pb.UploadPart(id=part.id, upload_id=part.upload_id, created_at=values.timestamp(part.created_ms))
