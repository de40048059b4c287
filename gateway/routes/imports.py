"""/v1/threads/import: take in what other janroots, Jans and products left. Neither Jan nor OpenAI has such a route."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import orjson
from aiohttp import web

from gateway.body import json_response
from gateway.convert.imports import progress_from_proto, report_from_proto
from gateway.errors import jan_error_body
from gateway.keys import STORAGE
from gateway.sse import DONE, EventStream, frame
from gateway.uploads import Form, body_pieces
from jan.errors import InternalError, InvalidArgumentError, JanError, UnsupportedMediaTypeError
from jan.storage.v1 import imports_pb2 as pb

routes = web.RouteTableDef()

# Weights may be among it; storage has the same limit.
MAX_IMPORT_BYTES = 16 * 1024**3
_RAW_TYPES = frozenset({"application/zip", "application/x-zip-compressed", "application/json"})


@routes.post("/v1/threads/import")
async def import_threads(request: web.Request) -> web.StreamResponse:
    """Take in an archive; `dry_run=true` only says what would be done, `stream=true` sends progress on the way."""
    dry_run = _flag(request, "dry_run")
    wants_stream = _flag(request, "stream") or "text/event-stream" in request.headers.get("Accept", "")
    parts = _parts(_pieces(request), dry_run=dry_run)
    async with aclosing(request.app[STORAGE].import_file(parts)) as answers:
        if wants_stream:
            return await _stream(request, answers)
        async for answer in answers:
            if answer.HasField("report"):
                return json_response(report_from_proto(answer.report))
    raise InternalError("The import ended without a report.")


async def _stream(request: web.Request, answers: AsyncIterator[pb.ImportResponse]) -> web.StreamResponse:
    """Progress as events, then the report. What is refused before any progress is refused with a status."""
    first = await anext(answers)
    async with EventStream(request) as stream:
        try:
            await stream.write(_event(first))
            async for answer in answers:
                await stream.write(_event(answer))
        except JanError as error:
            await stream.write(frame(jan_error_body(error), event="error"))
        await stream.write(DONE)
    return stream.response


def _event(answer: pb.ImportResponse) -> bytes:
    if answer.HasField("report"):
        return frame(orjson.dumps(report_from_proto(answer.report)), event="import.report")
    return frame(orjson.dumps(progress_from_proto(answer.progress)), event="import.progress")


def _pieces(request: web.Request) -> AsyncGenerator[bytes, None]:
    """The file's bytes, from a form or from the body itself."""
    if request.content_type in _RAW_TYPES:
        return body_pieces(request, MAX_IMPORT_BYTES)
    if request.content_type == "multipart/form-data":
        return Form(request, MAX_IMPORT_BYTES).pieces()
    raise UnsupportedMediaTypeError(
        "Send the file as Content-Type: application/zip or application/json, or as 'file' of multipart/form-data."
    )


async def _parts(pieces: AsyncGenerator[bytes, None], *, dry_run: bool) -> AsyncGenerator[pb.ImportRequest, None]:
    """The upload as storage takes it: the bytes as they come, then what to do with them."""
    async with aclosing(pieces):
        async for data in pieces:
            yield pb.ImportRequest(data=data)
    yield pb.ImportRequest(options=pb.ImportOptions(dry_run=dry_run))


def _flag(request: web.Request, name: str) -> bool:
    value = request.query.get(name, "false")
    if value not in ("true", "false"):
        raise InvalidArgumentError(f"Invalid '{name}': it is true or false.", param=name, code="invalid_value")
    return value == "true"
