"""/v1/messages/batches: messages that nobody waits for, answered within a day (docs/anthropic.md)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import timedelta

import orjson
from aiohttp import web

from gateway.anthropic.batch_body import read_requests
from gateway.anthropic.routes import check_headers
from gateway.batches.client import check_kind
from gateway.batches.lines import MAX_LINE_BYTES
from gateway.batches.requests import MESSAGES
from gateway.convert.message_batches import ENDED, message_batch_from_proto, results_path
from gateway.http.attachments import send_file
from gateway.http.body import json_response
from gateway.http.origin import own_url
from gateway.http.paging import DEFAULT_LIMIT, list_envelope, read_limit
from gateway.http.path_ids import path_id
from gateway.idempotency.key import new_ids
from gateway.keys import BATCHES, STORAGE
from gateway.queueing.tenant import tenant_of
from gateway.schemas.anthropic_batches import BatchedMessage
from gateway.schemas.common import JsonObject
from jan.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError, StorageFullError
from jan.ids import FileId, MessageBatchId
from jan.storage.v1 import batches_pb2, files_pb2, paging_pb2

routes = web.RouteTableDef()

LIFETIME = timedelta(hours=24)
MAX_LIMIT = 1000
PIECE_BYTES = 256 * 1024
JSONL = "application/x-jsonl"
_CURSORS = {"after": "after_id", "before": "before_id"}


@routes.post("/v1/messages/batches")
async def create_message_batch(request: web.Request) -> web.Response:
    """Accept a batch, which survives the death of any process from here on. Each request is looked at in its turn."""
    check_headers(request)
    storage, client = request.app[STORAGE], request.app[BATCHES].client
    batch = batches_pb2.Batch(
        endpoint=MESSAGES, tenant=tenant_of(request), lifetime_seconds=int(LIFETIME.total_seconds())
    )
    batch.input_file_id = (await storage.create_file(_parts(request, batch))).id
    try:
        kept = await client.create(batch)
    except StorageFullError:
        await storage.delete_file(batch.input_file_id)
        raise
    await request.app[BATCHES].start(kept)
    return json_response(_told(request, kept))


@routes.get("/v1/messages/batches")
async def list_message_batches(request: web.Request) -> web.Response:
    """A page of batches, the newest first."""
    check_headers(request)
    page = paging_pb2.PageRequest(
        page_size=read_limit(request.query.get("limit"), DEFAULT_LIMIT, MAX_LIMIT),
        order=paging_pb2.ORDER_DESC,
        after=request.query.get("after_id", ""),
        before=request.query.get("before_id", ""),
    )
    try:
        listed = await request.app[BATCHES].client.page(page, of_messages=True)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(error.message, param=_CURSORS.get(error.param, error.param)) from None
    envelope = list_envelope([_told(request, batch) for batch in listed.batches], has_more=listed.has_more)
    return json_response({name: value for name, value in envelope.items() if name != "object"})


@routes.get("/v1/messages/batches/{message_batch_id}")
async def get_message_batch(request: web.Request) -> web.Response:
    """How far a batch has come; 404 when it is unknown."""
    return json_response(_told(request, await _batch(request)))


@routes.get("/v1/messages/batches/{message_batch_id}/results")
async def get_message_batch_results(request: web.Request) -> web.StreamResponse:
    """What became of each request, a line of JSON for each, in any order. 400 before the batch has ended."""
    batch = await _batch(request)
    if batch.status not in ENDED:
        raise FailedPreconditionError(f"Message batch {batch.id} has not ended: there are no results yet.")
    if not batch.output_file_id:
        raise NotFoundError(f"Message batch {batch.id} has no results.")
    async with aclosing(request.app[STORAGE].read_file(batch.output_file_id)) as parts:
        file = (await anext(parts)).file
        return await send_file(request, file.filename, file.size_bytes, _data_of(parts), content_type=JSONL)


@routes.post("/v1/messages/batches/{message_batch_id}/cancel")
async def cancel_message_batch(request: web.Request) -> web.Response:
    """Stop a batch: `canceling` until its results hold what there is. 400 when it has ended."""
    batch, executor = await _batch(request), request.app[BATCHES]
    asked = batches_pb2.MoveBatchRequest(batch_id=batch.id, status=batches_pb2.BATCH_STATUS_CANCELLING)
    try:
        batch = await executor.client.move(asked)
        executor.stop(batch)
    except FailedPreconditionError:
        batch = await _batch(request)
        if batch.status in ENDED:
            raise FailedPreconditionError(f"Message batch {batch.id} has ended and cannot be canceled.") from None
    return json_response(_told(request, batch))


@routes.delete("/v1/messages/batches/{message_batch_id}")
async def delete_message_batch(request: web.Request) -> web.Response:
    """Remove a batch and its results for good. 400 before it has ended, 404 the second time."""
    batch = await _batch(request)
    await request.app[BATCHES].client.delete(batch.id)
    return json_response({"id": batch.id, "type": "message_batch_deleted"})


async def _batch(request: web.Request) -> batches_pb2.Batch:
    check_headers(request)
    batch_id = path_id(request, "message_batch_id", MessageBatchId)
    return check_kind(await request.app[BATCHES].client.get(batch_id), of_messages=True)


def _told(request: web.Request, batch: batches_pb2.Batch) -> JsonObject:
    path = results_path(batch)
    return message_batch_from_proto(batch, None if path is None else own_url(request, path))


def _line(place: int, asked: BatchedMessage) -> bytes:
    """The line of a batch's input for a request, as OpenAI's batches have it."""
    told = {"custom_id": asked.custom_id, "method": "POST", "url": MESSAGES, "body": asked.params}
    line = orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE)
    if len(line) > MAX_LINE_BYTES:
        raise InvalidArgumentError(f"A request may hold at most {MAX_LINE_BYTES} bytes.", param=f"requests[{place}]")
    return line


async def _parts(request: web.Request, batch: batches_pb2.Batch) -> AsyncGenerator[files_pb2.CreateFileRequest, None]:
    """The batch's input as storage takes it: the bytes in pieces, then what they are. The batch gets id and total."""
    waiting = bytearray()
    async with aclosing(read_requests(request)) as requests:
        async for asked in requests:
            waiting += _line(batch.total, asked)
            batch.total += 1
            while len(waiting) >= PIECE_BYTES:
                yield files_pb2.CreateFileRequest(data=bytes(waiting[:PIECE_BYTES]))
                del waiting[:PIECE_BYTES]
    yield files_pb2.CreateFileRequest(data=bytes(waiting))
    ids = new_ids(request)
    batch.id = ids.next(MessageBatchId)
    new = files_pb2.NewFile(id=ids.next(FileId), filename=f"{batch.id}_requests.jsonl", purpose="batch")
    yield files_pb2.CreateFileRequest(file=new)


async def _data_of(parts: AsyncIterator[files_pb2.ReadFileResponse]) -> AsyncIterator[bytes]:
    async for part in parts:
        yield part.data
