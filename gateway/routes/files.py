"""/v1/files: uploads, kept under ids of our own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import web

from gateway.convert.files import file_from_proto
from gateway.http.attachments import send_stored
from gateway.http.body import json_response
from gateway.http.paging import list_envelope, read_page
from gateway.http.path_ids import path_id
from gateway.http.ranges import Range
from gateway.http.uploads import Form
from gateway.idempotency.key import new_ids
from gateway.keys import STORAGE
from gateway.schemas.files import read_fields
from jan.ids import FileId
from jan.storage.v1 import files_pb2

routes = web.RouteTableDef()

MAX_LIMIT = 10_000


@routes.post("/v1/files")
async def create_file(request: web.Request) -> web.Response:
    """Take in a file of up to 512 MiB; 507 when the disk is full. What is broken off leaves nothing behind."""
    return json_response(file_from_proto(await request.app[STORAGE].create_file(_parts(request, Form(request)))))


@routes.get("/v1/files")
async def list_files(request: web.Request) -> web.Response:
    """A page of files, of 10,000 unless asked otherwise; `purpose` narrows it."""
    page = read_page(request, FileId, default_limit=MAX_LIMIT, max_limit=MAX_LIMIT)
    listed = await request.app[STORAGE].list_files(
        files_pb2.ListFilesRequest(page=page, purpose=request.query.get("purpose", ""))
    )
    return json_response(list_envelope([*map(file_from_proto, listed.files)], has_more=listed.has_more))


@routes.get("/v1/files/{file_id}")
async def get_file(request: web.Request) -> web.Response:
    """What is known of one file; 404 when it is unknown or has expired."""
    return json_response(file_from_proto(await request.app[STORAGE].get_file(_file_id(request))))


@routes.delete("/v1/files/{file_id}")
async def delete_file(request: web.Request) -> web.Response:
    """Remove a file for good. 404 the second time."""
    file_id = _file_id(request)
    await request.app[STORAGE].delete_file(file_id)
    return json_response({"id": file_id, "object": "file", "deleted": True})


@routes.get("/v1/files/{file_id}/content")
async def get_file_content(request: web.Request) -> web.StreamResponse:
    """A file's bytes, whatever it is for; with `Range`, some of them: 206, or 416 when it has none of those."""
    wanted = Range.read(request)
    async with aclosing(
        request.app[STORAGE].read_file(_file_id(request), wanted.to_proto() if wanted else None)
    ) as parts:
        told = await anext(parts)
        return await send_stored(request, wanted, told.file, told.revision, (part.data async for part in parts))


async def _parts(request: web.Request, form: Form) -> AsyncGenerator[files_pb2.CreateFileRequest, None]:
    """The upload as storage takes it: the bytes as they come, then what they are."""
    async for data in form.pieces():
        yield files_pb2.CreateFileRequest(data=data)
    body = read_fields(form.fields)
    new = files_pb2.NewFile(id=new_ids(request).next(FileId), filename=form.filename, purpose=body.purpose)
    if body.expires_after is not None:
        new.expires_after_seconds = body.expires_after.seconds
    yield files_pb2.CreateFileRequest(file=new)


def _file_id(request: web.Request) -> FileId:
    return path_id(request, "file_id", FileId)
