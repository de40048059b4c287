"""Storage's batches, as the gateway sees them."""

from __future__ import annotations

from collections.abc import Sequence

from grpc import aio

from gateway.batches.requests import MESSAGES
from jan.errors import NotFoundError
from jan.rpc import call
from jan.storage.v1 import batches_pb2, batches_pb2_grpc, paging_pb2

# Files of hundreds of megabytes may be written.
_MOVE_SECONDS = 600.0
# The results of a batch may have to be read again after storage was started.
_READ_SECONDS = 60.0


class BatchClient:
    """BatchService over a channel. Every method may raise any JanError of storage's."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = batches_pb2_grpc.BatchServiceStub(channel)

    async def create(self, batch: batches_pb2.Batch) -> batches_pb2.Batch:
        """Keep a new batch; harmless to repeat."""
        return (await call(self._stub.CreateBatch, batches_pb2.CreateBatchRequest(batch=batch))).batch

    async def get(self, batch_id: str) -> batches_pb2.Batch:
        """Read one."""
        request = batches_pb2.GetBatchRequest(batch_id=batch_id)
        return (await call(self._stub.GetBatch, request, deadline_seconds=_READ_SECONDS)).batch

    async def delete(self, batch_id: str) -> None:
        """Remove one that has come to its end, for good."""
        request = batches_pb2.DeleteBatchRequest(batch_id=batch_id)
        await call(self._stub.DeleteBatch, request, repeatable=False)

    async def page(
        self, wanted: paging_pb2.PageRequest, *, of_messages: bool = False
    ) -> batches_pb2.ListBatchesResponse:
        """Read a page of Anthropic's, or of the others."""
        request = batches_pb2.ListBatchesRequest(page=wanted, of_messages=of_messages)
        return await call(self._stub.ListBatches, request, deadline_seconds=_READ_SECONDS)

    async def list_active(self) -> list[batches_pb2.Batch]:
        """Read all that have not come to an end."""
        request = batches_pb2.ListActiveBatchesRequest()
        return list((await call(self._stub.ListActiveBatches, request, deadline_seconds=_READ_SECONDS)).batches)

    async def move(self, request: batches_pb2.MoveBatchRequest) -> batches_pb2.Batch:
        """Move a batch on; harmless to repeat."""
        return (await call(self._stub.MoveBatch, request, deadline_seconds=_MOVE_SECONDS)).batch

    async def append(self, batch_id: str, results: Sequence[batches_pb2.BatchResult]) -> None:
        """Add results. Durable on return; adding them again changes nothing."""
        request = batches_pb2.AppendBatchResultsRequest(batch_id=batch_id, results=results)
        await call(self._stub.AppendBatchResults, request, deadline_seconds=_READ_SECONDS)

    async def done(self, batch_id: str) -> list[int]:
        """The lines of the input whose requests have a result."""
        request = batches_pb2.ListBatchResultsRequest(batch_id=batch_id)
        return list((await call(self._stub.ListBatchResults, request, deadline_seconds=_READ_SECONDS)).lines)


def check_kind(batch: batches_pb2.Batch, *, of_messages: bool = False) -> batches_pb2.Batch:
    """A batch that is Anthropic's, or none of its: neither API knows the other's. Raises NotFoundError."""
    if (batch.endpoint == MESSAGES) is not of_messages:
        raise NotFoundError(f"No batch found with id '{batch.id}'.")
    return batch
