"""VectorStoreFileService over the store."""

from typing import Any

from grpc import aio

from jan.errors import InvalidArgumentError
from jan.ids import FileBatchId, FileId, VectorStoreId
from jan.storage.v1 import vector_store_files_pb2 as pb
from jan.storage.v1.vector_store_files_pb2_grpc import VectorStoreFileServiceServicer
from storage_service.access import Access
from storage_service.servicers import values
from storage_service.store.store import Store
from storage_service.store.vector_stores.records import (
    Chunking,
    FileBatch,
    FileCounts,
    FileStatus,
    NewFile,
    StoreFile,
)

Context = aio.ServicerContext[Any, Any]

_STATES = {
    FileStatus.IN_PROGRESS: pb.VECTOR_STORE_FILE_STATE_IN_PROGRESS,
    FileStatus.COMPLETED: pb.VECTOR_STORE_FILE_STATE_COMPLETED,
    FileStatus.FAILED: pb.VECTOR_STORE_FILE_STATE_FAILED,
    FileStatus.CANCELLED: pb.VECTOR_STORE_FILE_STATE_CANCELLED,
}
_STATUSES = {state: status for status, state in _STATES.items()}


class VectorStoreFileServicer(VectorStoreFileServiceServicer):
    """See vector_store_files.proto."""

    def __init__(self, access: Access, store: Store) -> None:
        self._access = access
        self._files = store.vector_store_files
        self._batches = store.file_batches

    async def CreateVectorStoreFile(
        self, request: pb.CreateVectorStoreFileRequest, context: Context
    ) -> pb.CreateVectorStoreFileResponse:
        """See vector_store_files.proto."""
        store_id, new = VectorStoreId.parse(request.vector_store_id), new_file(request.file)
        [file] = await self._access.run_alone(store_id, lambda: self._files.add(store_id, [new]))
        return pb.CreateVectorStoreFileResponse(file=file_to_proto(store_id, file))

    async def GetVectorStoreFile(
        self, request: pb.GetVectorStoreFileRequest, context: Context
    ) -> pb.GetVectorStoreFileResponse:
        """See vector_store_files.proto."""
        store_id, file_id = VectorStoreId.parse(request.vector_store_id), FileId.parse(request.file_id)
        file = await self._access.run(lambda: self._files.get(store_id, file_id))
        return pb.GetVectorStoreFileResponse(file=file_to_proto(store_id, file))

    async def ListVectorStoreFiles(
        self, request: pb.ListVectorStoreFilesRequest, context: Context
    ) -> pb.ListVectorStoreFilesResponse:
        """See vector_store_files.proto."""
        store_id, query = VectorStoreId.parse(request.vector_store_id), values.page_query(request.page)
        batch_id = FileBatchId.parse(request.batch_id) if request.batch_id else None

        def list_files() -> pb.ListVectorStoreFilesResponse:
            if batch_id is not None:
                self._batches.get(store_id, batch_id)
            page = self._files.page(store_id, query, _STATUSES.get(request.state), batch_id)
            files = [file_to_proto(store_id, file) for file in page.items]
            return pb.ListVectorStoreFilesResponse(files=files, has_more=page.has_more)

        return await self._access.run(list_files)

    async def UpdateVectorStoreFile(
        self, request: pb.UpdateVectorStoreFileRequest, context: Context
    ) -> pb.UpdateVectorStoreFileResponse:
        """See vector_store_files.proto."""
        store_id, file_id = VectorStoreId.parse(request.vector_store_id), FileId.parse(request.file_id)
        attributes = values.load_object(request.attributes_json, "attributes")
        file = await self._access.run_alone(store_id, lambda: self._files.set_attributes(store_id, file_id, attributes))
        return pb.UpdateVectorStoreFileResponse(file=file_to_proto(store_id, file))

    async def DeleteVectorStoreFile(
        self, request: pb.DeleteVectorStoreFileRequest, context: Context
    ) -> pb.DeleteVectorStoreFileResponse:
        """See vector_store_files.proto."""
        store_id, file_id = VectorStoreId.parse(request.vector_store_id), FileId.parse(request.file_id)
        await self._access.run_alone(store_id, lambda: self._files.remove(store_id, file_id))
        return pb.DeleteVectorStoreFileResponse()

    async def GetVectorStoreFileText(
        self, request: pb.GetVectorStoreFileTextRequest, context: Context
    ) -> pb.GetVectorStoreFileTextResponse:
        """See vector_store_files.proto."""
        store_id, file_id = VectorStoreId.parse(request.vector_store_id), FileId.parse(request.file_id)
        text = await self._access.run(lambda: self._files.read_text(store_id, file_id))
        return pb.GetVectorStoreFileTextResponse(text=text)

    async def CreateVectorStoreFileBatch(
        self, request: pb.CreateVectorStoreFileBatchRequest, context: Context
    ) -> pb.CreateVectorStoreFileBatchResponse:
        """See vector_store_files.proto."""
        store_id, batch_id = VectorStoreId.parse(request.vector_store_id), FileBatchId.parse(request.batch_id)
        files = [*map(new_file, request.files)]
        batch = await self._access.run_alone(
            store_id, lambda: self._batch_to_proto(store_id, self._batches.create(store_id, batch_id, files))
        )
        return pb.CreateVectorStoreFileBatchResponse(batch=batch)

    async def GetVectorStoreFileBatch(
        self, request: pb.GetVectorStoreFileBatchRequest, context: Context
    ) -> pb.GetVectorStoreFileBatchResponse:
        """See vector_store_files.proto."""
        store_id, batch_id = VectorStoreId.parse(request.vector_store_id), FileBatchId.parse(request.batch_id)
        batch = await self._access.run(lambda: self._batch_to_proto(store_id, self._batches.get(store_id, batch_id)))
        return pb.GetVectorStoreFileBatchResponse(batch=batch)

    async def CancelVectorStoreFileBatch(
        self, request: pb.CancelVectorStoreFileBatchRequest, context: Context
    ) -> pb.CancelVectorStoreFileBatchResponse:
        """See vector_store_files.proto."""
        store_id, batch_id = VectorStoreId.parse(request.vector_store_id), FileBatchId.parse(request.batch_id)
        batch = await self._access.run_alone(
            store_id, lambda: self._batch_to_proto(store_id, self._batches.cancel(store_id, batch_id))
        )
        return pb.CancelVectorStoreFileBatchResponse(batch=batch)

    def _batch_to_proto(self, store_id: VectorStoreId, batch: FileBatch) -> pb.VectorStoreFileBatch:
        return pb.VectorStoreFileBatch(
            id=batch.id,
            vector_store_id=store_id,
            created_at=values.timestamp(batch.created_ms),
            is_cancelled=batch.is_cancelled,
            file_counts=counts_to_proto(self._files.counts(store_id, batch.id)),
        )


def new_file(new: pb.NewVectorStoreFile) -> NewFile:
    """A file that is to be added. Raises InvalidArgumentError: a bad id or JSON text, or no way to cut a text."""
    chunking = Chunking()
    if new.HasField("chunking"):
        chunking = Chunking(new.chunking.max_tokens, new.chunking.overlap_tokens)
    if not (100 <= chunking.max_tokens <= 4096 and 0 <= chunking.overlap_tokens <= chunking.max_tokens // 2):
        raise InvalidArgumentError(
            "Chunks have 100 to 4096 tokens, of which half may overlap.", param="chunking_strategy"
        )
    return NewFile(FileId.parse(new.file_id), chunking, values.load_object(new.attributes_json, "attributes"))


def file_to_proto(store_id: VectorStoreId, file: StoreFile) -> pb.VectorStoreFile:
    """A file of a store for the wire."""
    return pb.VectorStoreFile(
        id=file.id,
        vector_store_id=store_id,
        created_at=values.timestamp(file.created_ms),
        state=_STATES[file.status],
        error_code=file.error_code,
        error_message=file.error_message,
        chunking=pb.Chunking(max_tokens=file.chunking.max_tokens, overlap_tokens=file.chunking.overlap_tokens),
        attributes_json=values.dump(file.attributes),
        usage_bytes=file.usage_bytes,
        filename=file.filename,
    )


def counts_to_proto(counts: FileCounts) -> pb.VectorStoreFileCounts:
    """Counts for the wire."""
    return pb.VectorStoreFileCounts(
        in_progress=counts.in_progress, completed=counts.completed, failed=counts.failed, cancelled=counts.cancelled
    )
