"""Files that come in parts, as the gateway sees them."""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence

from grpc import aio

from jan.rpc import call, upload
from jan.storage.v1 import uploads_pb2, uploads_pb2_grpc

_PART_SECONDS = 3600.0
# Gigabytes may be copied.
_COMPLETE_SECONDS = 600.0


class UploadClient:
    """UploadService over a channel. Every method may raise any JanError of storage's."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = uploads_pb2_grpc.UploadServiceStub(channel)

    async def create(self, new: uploads_pb2.Upload) -> uploads_pb2.Upload:
        """Begin an upload; harmless to repeat."""
        return (await call(self._stub.CreateUpload, uploads_pb2.CreateUploadRequest(upload=new))).upload

    async def add_part(self, pieces: AsyncIterable[uploads_pb2.AddUploadPartRequest]) -> uploads_pb2.UploadPart:
        """Take in a part; what `pieces` raises breaks it off and leaves nothing."""
        return (await upload(self._stub.AddUploadPart, pieces, deadline_seconds=_PART_SECONDS)).part

    async def complete(self, upload_id: str, part_ids: Sequence[str], md5: str) -> uploads_pb2.Upload:
        """Make the file; harmless to repeat."""
        request = uploads_pb2.CompleteUploadRequest(upload_id=upload_id, part_ids=part_ids, md5=md5)
        return (await call(self._stub.CompleteUpload, request, deadline_seconds=_COMPLETE_SECONDS)).upload

    async def cancel(self, upload_id: str) -> uploads_pb2.Upload:
        """Give an upload up; harmless to repeat."""
        request = uploads_pb2.CancelUploadRequest(upload_id=upload_id)
        return (await call(self._stub.CancelUpload, request, deadline_seconds=_COMPLETE_SECONDS)).upload
