"""BatchService over the store."""

from typing import Any

from grpc import aio

from jan.errors import InvalidArgumentError
from jan.ids import BatchId
from jan.storage.v1 import batches_pb2 as pb
from jan.storage.v1.batches_pb2_grpc import BatchServiceServicer
from jan.type.v1.usage_pb2 import CompletionTokensDetails, Usage
from storage_service.access import Access
from storage_service.servicers import values
from storage_service.store.batches.records import Batch, BatchStatus, Result, Tokens
from storage_service.store.store import Store

Context = aio.ServicerContext[Any, Any]

_PREFIX = "BATCH_STATUS_"


class BatchServicer(BatchServiceServicer):
    """See batches.proto."""

    def __init__(self, access: Access, store: Store) -> None:
        self._access = access
        self._batches = store.batches

    async def CreateBatch(self, request: pb.CreateBatchRequest, context: Context) -> pb.CreateBatchResponse:
        """See batches.proto."""
        batch = from_proto(request.batch)
        kept = await self._access.run_alone(batch.id, lambda: self._batches.create(batch))
        return pb.CreateBatchResponse(batch=to_proto(kept))

    async def GetBatch(self, request: pb.GetBatchRequest, context: Context) -> pb.GetBatchResponse:
        """See batches.proto."""
        batch_id = BatchId.parse(request.batch_id)
        return pb.GetBatchResponse(batch=to_proto(await self._access.run(lambda: self._batches.get(batch_id))))

    async def DeleteBatch(self, request: pb.DeleteBatchRequest, context: Context) -> pb.DeleteBatchResponse:
        """See batches.proto."""
        batch_id = BatchId.parse(request.batch_id)
        await self._access.run_alone(batch_id, lambda: self._batches.delete(batch_id))
        return pb.DeleteBatchResponse()

    async def ListBatches(self, request: pb.ListBatchesRequest, context: Context) -> pb.ListBatchesResponse:
        """See batches.proto."""
        query = values.page_query(request.page)
        page = await self._access.run(lambda: self._batches.page(query, of_messages=request.of_messages))
        return pb.ListBatchesResponse(batches=map(to_proto, page.items), has_more=page.has_more)

    async def ListActiveBatches(
        self, request: pb.ListActiveBatchesRequest, context: Context
    ) -> pb.ListActiveBatchesResponse:
        """See batches.proto."""
        return pb.ListActiveBatchesResponse(batches=map(to_proto, await self._access.run(self._batches.active)))

    async def MoveBatch(self, request: pb.MoveBatchRequest, context: Context) -> pb.MoveBatchResponse:
        """See batches.proto."""
        batch_id = BatchId.parse(request.batch_id)
        to = _status(request.status)
        errors = values.load_objects(request.errors_json, "errors")
        moved = await self._access.run_alone(
            batch_id,
            lambda: self._batches.move(batch_id, to, total=request.total, model=request.model, errors=errors),
        )
        return pb.MoveBatchResponse(batch=to_proto(moved))

    async def AppendBatchResults(
        self, request: pb.AppendBatchResultsRequest, context: Context
    ) -> pb.AppendBatchResultsResponse:
        """See batches.proto."""
        batch_id = BatchId.parse(request.batch_id)
        results = [
            Result(
                one.line,
                one.answered,
                values.load_object(one.result_json.decode(), "result"),
                _tokens(one.usage),
                skipped=one.skipped,
            )
            for one in request.results
        ]
        await self._access.run_alone(batch_id, lambda: self._batches.append(batch_id, results))
        return pb.AppendBatchResultsResponse()

    async def ListBatchResults(
        self, request: pb.ListBatchResultsRequest, context: Context
    ) -> pb.ListBatchResultsResponse:
        """See batches.proto."""
        batch_id = BatchId.parse(request.batch_id)
        return pb.ListBatchResultsResponse(
            lines=await self._access.run_alone(batch_id, lambda: self._batches.done(batch_id))
        )


def _tokens(usage: Usage) -> Tokens:
    return Tokens(
        usage.prompt_tokens,
        usage.cached_tokens,
        usage.completion_tokens,
        usage.completion_tokens_details.reasoning_tokens,
    )


def to_proto(batch: Batch) -> pb.Batch:
    """A batch for the wire."""
    counts = batch.counts
    return pb.Batch(
        id=batch.id,
        status=_number(batch.status),
        endpoint=batch.endpoint,
        input_file_id=batch.input_file_id,
        tenant=batch.tenant,
        metadata_json=values.dump(batch.metadata),
        output_expires_after_seconds=batch.output_expires_after_seconds,
        created_at=values.timestamp(batch.created_ms),
        lifetime_seconds=batch.lifetime_seconds,
        errors_json=values.dump(batch.errors) if batch.errors else "",
        model=batch.model,
        total=batch.total,
        completed=counts.completed,
        failed=counts.failed,
        skipped=counts.skipped,
        usage=Usage(
            prompt_tokens=counts.tokens.prompt,
            cached_tokens=counts.tokens.cached,
            completion_tokens=counts.tokens.completion,
            completion_tokens_details=CompletionTokensDetails(reasoning_tokens=counts.tokens.reasoning),
        ),
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        steps=[pb.BatchStep(status=_number(status), at=values.timestamp(at)) for status, at in batch.steps],
    )


def from_proto(batch: pb.Batch) -> Batch:
    """A new batch from the wire. Raises InvalidArgumentError: it is none."""
    return Batch(
        id=BatchId.parse(batch.id),
        endpoint=batch.endpoint,
        input_file_id=batch.input_file_id,
        tenant=batch.tenant,
        metadata=values.load_object(batch.metadata_json, "metadata"),
        lifetime_seconds=batch.lifetime_seconds,
        output_expires_after_seconds=batch.output_expires_after_seconds,
        total=batch.total,
    )


def _number(status: BatchStatus) -> pb.BatchStatus.ValueType:
    return pb.BatchStatus.Value(f"{_PREFIX}{status.name}")


def _status(number: pb.BatchStatus.ValueType) -> BatchStatus:
    try:
        return BatchStatus[pb.BatchStatus.Name(number).removeprefix(_PREFIX)]
    except (KeyError, ValueError):
        raise InvalidArgumentError("The batch is to come to no status that is known.", param="status") from None
