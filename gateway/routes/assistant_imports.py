"""Assistants that come from elsewhere: by zip, by URL; and the downloads of those by URL."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import web

from gateway.convert.assistants import assistant_from_proto
from gateway.http.body import json_response, read_body
from gateway.http.path_ids import path_id
from gateway.http.preconditions import etag
from gateway.http.uploads import MAX_FILE_BYTES, Upload
from gateway.idempotency.key import new_ids
from gateway.keys import ASSISTANT_DOWNLOADS, STORAGE
from gateway.schemas.assistant_imports import ImportAssistant
from jan.errors import FailedPreconditionError
from jan.ids import AssistantId
from jan.storage.v1 import assistant_imports_pb2, assistants_pb2

routes = web.RouteTableDef()

# What clients call a zip file that they send as it is.
_ZIP_TYPES = frozenset({"application/zip", "application/x-zip-compressed", "application/octet-stream"})
_WANTED = "Send a zip file as application/zip or multipart/form-data, or a URL in application/json."


@routes.post("/v1/assistants/import")
async def import_assistant(request: web.Request) -> web.Response:
    """Take in an assistant: its folder as a zip, as it is or in a form, or `{"url": …}` where it is.

    400 for what is no assistant, a hostile archive or URL; 403 when the settings do not allow the URL; 409 when the id
    has another assistant.
    """
    if request.content_type == "application/json":
        return await _import_by_url(request)
    parts = _parts(request, Upload(request, MAX_FILE_BYTES, _ZIP_TYPES, _WANTED))
    return _response(await request.app[STORAGE].import_assistant(parts))


@routes.post("/v1/assistants/{assistant_id}/download")
async def start_download(request: web.Request) -> web.Response:
    """Begin the download of an assistant that was registered by URL, or whose last download failed.

    409 when it runs; 400 when the assistant is here already.
    """
    assistant = await request.app[STORAGE].get_assistant(path_id(request, "assistant_id", AssistantId))
    return _response(await _download(request, assistant))


@routes.delete("/v1/assistants/{assistant_id}/download")
async def cancel_download(request: web.Request) -> web.Response:
    """End a download, whichever gateway runs it; answers the assistant as it is then."""
    return _response(await request.app[STORAGE].cancel_download(path_id(request, "assistant_id", AssistantId)))


async def _import_by_url(request: web.Request) -> web.Response:
    body = await read_body(request, ImportAssistant)
    wanted = AssistantId.parse(body.id) if body.id is not None else ""
    downloads = request.app[ASSISTANT_DOWNLOADS]
    if not body.download:
        downloads.fetcher.check_form(body.url)
        return _response(await request.app[STORAGE].register_assistant(wanted, body.url))
    await downloads.fetcher.check(body.url)
    downloads.check_room()
    assistant = await request.app[STORAGE].register_assistant(wanted, body.url)
    if assistant.state == assistants_pb2.ASSISTANT_STATE_TO_DOWNLOAD:
        assistant = await _download(request, assistant)
    return _response(assistant)


async def _download(request: web.Request, assistant: assistants_pb2.Assistant) -> assistants_pb2.Assistant:
    if not assistant.source_url:
        raise FailedPreconditionError(f"The assistant '{assistant.id}' has no URL to be downloaded from.")
    downloads = request.app[ASSISTANT_DOWNLOADS]
    await downloads.fetcher.check(assistant.source_url)
    await downloads.start(assistant)
    return await request.app[STORAGE].get_assistant(assistant.id)


async def _parts(
    request: web.Request, upload: Upload
) -> AsyncGenerator[assistant_imports_pb2.ImportAssistantRequest, None]:
    """The zip as storage takes it: the bytes as they come, then the id, which stands in the form or in the query."""
    async with aclosing(upload.pieces()) as pieces:
        async for data in pieces:
            yield assistant_imports_pb2.ImportAssistantRequest(data=data)
    wanted = upload.fields.get("id", request.query.get("id", ""))
    end = assistant_imports_pb2.ImportEnd(
        assistant_id=AssistantId.parse(wanted) if wanted else "", new_id=new_ids(request).next(AssistantId)
    )
    yield assistant_imports_pb2.ImportAssistantRequest(end=end)


def _response(assistant: assistants_pb2.Assistant) -> web.Response:
    return json_response(assistant_from_proto(assistant), headers=etag(assistant.revision))
