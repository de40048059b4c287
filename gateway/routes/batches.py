"""/v1/batches: the requests of a file, answered within a day without anybody waiting."""

from __future__ import annotations

from datetime import timedelta

from aiohttp import web

from gateway.batches.client import check_kind
from gateway.convert.batches import batch_from_proto
from gateway.convert.json_fields import to_text
from gateway.http.body import json_response, read_body
from gateway.http.mentions import mentioned_in
from gateway.http.paging import list_envelope, read_page
from gateway.http.path_ids import path_id
from gateway.idempotency.key import new_ids
from gateway.keys import BATCHES, STORAGE
from gateway.queueing.tenant import tenant_of
from gateway.schemas.batches import CreateBatch
from jan.errors import InvalidArgumentError
from jan.ids import BatchId, FileId
from jan.storage.v1 import batches_pb2

routes = web.RouteTableDef()

LIFETIME = timedelta(hours=24)
MAX_INPUT_BYTES = 200 * 1024 * 1024  # OpenAI's
INPUT_PURPOSE = "batch"


@routes.post("/v1/batches")
async def create_batch(request: web.Request) -> web.Response:
    """Accept a batch, which survives the death of any process from here on. Its input is looked at afterwards."""
    body = await read_body(request, CreateBatch)
    await _check_input(request, body.input_file_id)
    expiry = body.output_expires_after
    batch = batches_pb2.Batch(
        id=new_ids(request).next(BatchId),
        endpoint=body.endpoint,
        input_file_id=body.input_file_id,
        tenant=tenant_of(request),
        metadata_json=to_text(body.metadata),
        lifetime_seconds=int(LIFETIME.total_seconds()),
        output_expires_after_seconds=0 if expiry is None else expiry.seconds,
    )
    kept = await request.app[BATCHES].client.create(batch)
    await request.app[BATCHES].start(kept)
    return json_response(batch_from_proto(kept))


@routes.get("/v1/batches")
async def list_batches(request: web.Request) -> web.Response:
    """A page of batches, the newest first unless asked otherwise."""
    listed = await request.app[BATCHES].client.page(read_page(request, BatchId))
    return json_response(list_envelope([*map(batch_from_proto, listed.batches)], has_more=listed.has_more))


@routes.get("/v1/batches/{batch_id}")
async def get_batch(request: web.Request) -> web.Response:
    """How far a batch has come; 404 when it is unknown."""
    return json_response(batch_from_proto(await _batch(request)))


@routes.post("/v1/batches/{batch_id}/cancel")
async def cancel_batch(request: web.Request) -> web.Response:
    """Stop a batch: `cancelling` until its files hold what there is. 400 when it is past that."""
    batch, executor = await _batch(request), request.app[BATCHES]
    asked = batches_pb2.MoveBatchRequest(batch_id=batch.id, status=batches_pb2.BATCH_STATUS_CANCELLING)
    moved = await executor.client.move(asked)
    executor.stop(moved)
    return json_response(batch_from_proto(moved))


async def _check_input(request: web.Request, file_id: str) -> None:
    """Raises NotFoundError: there is no such file. InvalidArgumentError: it is none for a batch."""
    with mentioned_in("input_file_id"):
        file = await request.app[STORAGE].get_file(FileId.parse(file_id))
    if file.purpose != INPUT_PURPOSE:
        message = f"The input file must have the purpose '{INPUT_PURPOSE}', not '{file.purpose}'."
        raise InvalidArgumentError(message, param="input_file_id", code="invalid_file_purpose")
    if file.size_bytes > MAX_INPUT_BYTES:
        message = f"The input file may hold at most {MAX_INPUT_BYTES} bytes."
        raise InvalidArgumentError(message, param="input_file_id", code="file_too_large")


async def _batch(request: web.Request) -> batches_pb2.Batch:
    return check_kind(await request.app[BATCHES].client.get(path_id(request, "batch_id", BatchId)))
