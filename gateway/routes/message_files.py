"""/v1/threads/{thread_id}/messages/{message_id}/files: what a message brought along, uploaded or in Jan's folder."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import PurePosixPath

from aiohttp import web

from gateway.convert.files import message_file_from_proto
from gateway.http.attachments import send_stored
from gateway.http.body import json_response
from gateway.http.paging import list_envelope, read_page
from gateway.http.path_ids import path_id
from gateway.http.ranges import Range
from gateway.keys import STORAGE
from gateway.routes.threads import thread_id_of
from jan.ids import MessageFileId, MessageId, ThreadId

routes = web.RouteTableDef()

FILES = "/v1/threads/{thread_id}/messages/{message_id}/files"
# What Jan kept beside a thread; everything else is bytes.
CONTENT_TYPES = {".png": "image/png", ".pdf": "application/pdf"}


@routes.get(FILES)
async def list_message_files(request: web.Request) -> web.Response:
    """A page of a message's files; 404 when the message is unknown."""
    page = read_page(request, MessageFileId)
    message_id = path_id(request, "message_id", MessageId)
    listed = await request.app[STORAGE].list_message_files(thread_id_of(request), message_id, page)
    return json_response(list_envelope([*map(message_file_from_proto, listed.files)], has_more=listed.has_more))


@routes.get(FILES + "/{file_id}")
async def get_message_file(request: web.Request) -> web.Response:
    """One file of a message; 404 when the message has no such file."""
    return json_response(message_file_from_proto(await request.app[STORAGE].get_message_file(*_path(request))))


@routes.get(FILES + "/{file_id}/content")
async def get_message_file_content(request: web.Request) -> web.StreamResponse:
    """The bytes of one file of a message, or a range of them: see `get_file_content`."""
    wanted = Range.read(request)
    reading = request.app[STORAGE].read_message_file(*_path(request), wanted.to_proto() if wanted else None)
    async with aclosing(reading) as parts:
        told = await anext(parts)
        content_type = CONTENT_TYPES.get(PurePosixPath(told.file.id).suffix, "")
        pieces = (part.data async for part in parts)
        return await send_stored(request, wanted, told.file, told.revision, pieces, content_type=content_type)


def _path(request: web.Request) -> tuple[ThreadId, MessageId, MessageFileId]:
    return (
        thread_id_of(request),
        path_id(request, "message_id", MessageId),
        path_id(request, "file_id", MessageFileId),
    )
