"""The vector stores that storage keeps, as the gateway sees them."""

from __future__ import annotations

from collections.abc import Sequence

from grpc import aio

from jan.rpc import call
from jan.storage.v1 import paging_pb2
from jan.storage.v1 import vector_store_files_pb2 as files_pb
from jan.storage.v1 import vector_stores_pb2 as pb
from jan.storage.v1.vector_store_files_pb2_grpc import VectorStoreFileServiceStub
from jan.storage.v1.vector_stores_pb2_grpc import VectorStoreServiceStub

# Each file is made durable by itself: so long for so many.
_ADD_SECONDS = 60.0
_ADDED = 2000
# An index that was lost is made anew by the first search.
_SEARCH_SECONDS = 60.0
_READ_SECONDS = 30.0


class VectorStoreClient:
    """Both services over a channel. Every method may raise any `JanError` that storage raises."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stores = VectorStoreServiceStub(channel)
        self._files = VectorStoreFileServiceStub(channel)

    async def create(self, store: pb.VectorStore, files: Sequence[files_pb.NewVectorStoreFile]) -> pb.VectorStore:
        """Make a vector store with files; harmless to repeat."""
        request = pb.CreateVectorStoreRequest(vector_store=store, files=files)
        seconds = _ADD_SECONDS * max(1.0, len(files) / _ADDED)
        return (await call(self._stores.CreateVectorStore, request, deadline_seconds=seconds)).vector_store

    async def get(self, store_id: str) -> pb.VectorStore:
        """Read a vector store."""
        request = pb.GetVectorStoreRequest(vector_store_id=store_id)
        return (await call(self._stores.GetVectorStore, request)).vector_store

    async def list(self, page: paging_pb2.PageRequest) -> pb.ListVectorStoresResponse:
        """Read a page of vector stores."""
        return await call(self._stores.ListVectorStores, pb.ListVectorStoresRequest(page=page))

    async def update(self, request: pb.UpdateVectorStoreRequest) -> pb.VectorStore:
        """Change the masked fields of a vector store."""
        return (await call(self._stores.UpdateVectorStore, request)).vector_store

    async def delete(self, store_id: str) -> None:
        """Remove a vector store."""
        request = pb.DeleteVectorStoreRequest(vector_store_id=store_id)
        await call(self._stores.DeleteVectorStore, request, repeatable=False)

    async def search(self, request: pb.SearchVectorStoreRequest) -> pb.SearchVectorStoreResponse:
        """Find chunks, the best first."""
        return await call(self._stores.SearchVectorStore, request, deadline_seconds=_SEARCH_SECONDS)

    async def add_file(self, store_id: str, file: files_pb.NewVectorStoreFile) -> files_pb.VectorStoreFile:
        """Add an upload to a vector store; harmless to repeat."""
        request = files_pb.CreateVectorStoreFileRequest(vector_store_id=store_id, file=file)
        return (await call(self._files.CreateVectorStoreFile, request)).file

    async def get_file(self, store_id: str, file_id: str) -> files_pb.VectorStoreFile:
        """Read what is known of a file."""
        request = files_pb.GetVectorStoreFileRequest(vector_store_id=store_id, file_id=file_id)
        return (await call(self._files.GetVectorStoreFile, request)).file

    async def list_files(self, request: files_pb.ListVectorStoreFilesRequest) -> files_pb.ListVectorStoreFilesResponse:
        """Read a page of files."""
        return await call(self._files.ListVectorStoreFiles, request)

    async def set_attributes(self, store_id: str, file_id: str, attributes_json: str) -> files_pb.VectorStoreFile:
        """Replace a file's attributes."""
        request = files_pb.UpdateVectorStoreFileRequest(
            vector_store_id=store_id, file_id=file_id, attributes_json=attributes_json
        )
        return (await call(self._files.UpdateVectorStoreFile, request)).file

    async def remove_file(self, store_id: str, file_id: str) -> None:
        """Take a file out of a vector store."""
        request = files_pb.DeleteVectorStoreFileRequest(vector_store_id=store_id, file_id=file_id)
        await call(self._files.DeleteVectorStoreFile, request, repeatable=False)

    async def text(self, store_id: str, file_id: str) -> str:
        """Read a file's text."""
        request = files_pb.GetVectorStoreFileTextRequest(vector_store_id=store_id, file_id=file_id)
        return (await call(self._files.GetVectorStoreFileText, request, deadline_seconds=_READ_SECONDS)).text

    async def create_batch(
        self, store_id: str, batch_id: str, files: Sequence[files_pb.NewVectorStoreFile]
    ) -> files_pb.VectorStoreFileBatch:
        """Add several uploads together; harmless to repeat."""
        request = files_pb.CreateVectorStoreFileBatchRequest(vector_store_id=store_id, batch_id=batch_id, files=files)
        return (await call(self._files.CreateVectorStoreFileBatch, request, deadline_seconds=_ADD_SECONDS)).batch

    async def get_batch(self, store_id: str, batch_id: str) -> files_pb.VectorStoreFileBatch:
        """Read a batch."""
        request = files_pb.GetVectorStoreFileBatchRequest(vector_store_id=store_id, batch_id=batch_id)
        return (await call(self._files.GetVectorStoreFileBatch, request)).batch

    async def cancel_batch(self, store_id: str, batch_id: str) -> files_pb.VectorStoreFileBatch:
        """Give up what of a batch is not done."""
        request = files_pb.CancelVectorStoreFileBatchRequest(vector_store_id=store_id, batch_id=batch_id)
        call_once = call(
            self._files.CancelVectorStoreFileBatch, request, deadline_seconds=_ADD_SECONDS, repeatable=False
        )
        return (await call_once).batch
