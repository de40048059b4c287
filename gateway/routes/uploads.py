"""/v1/uploads: a file in parts, which may come in any order and at the same time."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from aiohttp import web

from gateway.convert.uploads import part_from_proto, upload_from_proto
from gateway.http.body import json_response, read_body
from gateway.http.mentions import mentioned_in
from gateway.http.path_ids import path_id
from gateway.http.uploads import Form, label
from gateway.idempotency.key import new_ids
from gateway.keys import UPLOADS
from gateway.schemas.uploads import CompleteUpload, CreateUpload
from jan.ids import UploadId, UploadPartId
from jan.storage.v1 import uploads_pb2

routes = web.RouteTableDef()

MAX_PART_BYTES = 64 * 1024 * 1024  # OpenAI's


@routes.post("/v1/uploads")
async def create_upload(request: web.Request) -> web.Response:
    """Begin an upload of up to 8 GiB; it expires after an hour."""
    body = await read_body(request, CreateUpload)
    new = uploads_pb2.Upload(
        id=new_ids(request).next(UploadId),
        filename=label(body.filename),
        purpose=body.purpose,
        size_bytes=body.bytes,
        mime_type=body.mime_type,
        expires_after_seconds=0 if body.expires_after is None else body.expires_after.seconds,
    )
    return json_response(upload_from_proto(await request.app[UPLOADS].create(new)))


@routes.post("/v1/uploads/{upload_id}/parts")
async def add_upload_part(request: web.Request) -> web.Response:
    """Take in a part of up to 64 MiB. What is broken off leaves nothing behind."""
    form = Form(request, MAX_PART_BYTES)
    part = uploads_pb2.UploadPart(id=new_ids(request).next(UploadPartId), upload_id=_upload_id(request))
    return json_response(part_from_proto(await request.app[UPLOADS].add_part(_pieces(form, part))))


@routes.post("/v1/uploads/{upload_id}/complete")
async def complete_upload(request: web.Request) -> web.Response:
    """Make a file of the parts, in the order named; 400 when its length or MD5 is not what was said."""
    body = await read_body(request, CompleteUpload)
    for place, part_id in enumerate(body.part_ids):
        with mentioned_in(f"part_ids[{place}]"):
            UploadPartId.parse(part_id)
    made = await request.app[UPLOADS].complete(_upload_id(request), body.part_ids, body.md5 or "")
    return json_response(upload_from_proto(made))


@routes.post("/v1/uploads/{upload_id}/cancel")
async def cancel_upload(request: web.Request) -> web.Response:
    """Give an upload up, and its parts with it."""
    return json_response(upload_from_proto(await request.app[UPLOADS].cancel(_upload_id(request))))


async def _pieces(form: Form, part: uploads_pb2.UploadPart) -> AsyncGenerator[uploads_pb2.AddUploadPartRequest, None]:
    """A part as storage takes it: the bytes as they come, then what they are."""
    async for data in form.pieces():
        yield uploads_pb2.AddUploadPartRequest(data=data)
    yield uploads_pb2.AddUploadPartRequest(part=part)


def _upload_id(request: web.Request) -> UploadId:
    return path_id(request, "upload_id", UploadId)
