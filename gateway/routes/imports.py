"""/v1/threads/import: take in what other janroots, Jans and products left. Neither Jan nor OpenAI has such a route."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import orjson
from aiohttp import web

from gateway.convert.imports import progress_from_proto, report_from_proto
from gateway.http.body import json_response
from gateway.http.errors import jan_error_body
from gateway.http.flags import read_flags
from gateway.http.sse import DONE, EventStream, frame
from gateway.http.uploads import Upload
from gateway.keys import STORAGE
from jan.errors import InternalError, JanError
from jan.storage.v1 import imports_pb2 as pb

routes = web.RouteTableDef()

# Weights may be among it; storage has the same limit.
MAX_IMPORT_BYTES = 16 * 1024**3
_FLAGS = ("dry_run", "stream")
_RAW_TYPES = frozenset({"application/zip", "application/x-zip-compressed", "application/json"})
_WANTED = "Send the file as Content-Type: application/zip or application/json, or as 'file' of multipart/form-data."


@routes.post("/v1/threads/import")
async def import_threads(request: web.Request) -> web.StreamResponse:
    """Take in an archive; `dry_run=true` only says what would be done, `stream=true` sends progress on the way.

    Both may stand in the query or, beside the file, in the form; 400 for any other parameter, before anything is done.
    """
    upload = _Import(request)
    async with aclosing(request.app[STORAGE].import_file(upload.parts())) as answers:
        # Storage says nothing before it has the last of the parts, so every field of a form is known by then.
        first = await anext(answers)
        if upload.wants_stream:
            return await _stream(request, first, answers)
        if first.HasField("report"):
            return json_response(report_from_proto(first.report))
        async for answer in answers:
            if answer.HasField("report"):
                return json_response(report_from_proto(answer.report))
    raise InternalError("The import ended without a report.")


class _Import:
    """A file on its way in, and what is to be done with it."""

    def __init__(self, request: web.Request) -> None:
        """Look at the headers and the query. Raises InvalidArgumentError, UnsupportedMediaTypeError, TooLargeError."""
        self._query = tuple(request.query.items())
        self._flags = read_flags(self._query, *_FLAGS)
        self._accepts_events = "text/event-stream" in request.headers.get("Accept", "")
        self._file = Upload(request, MAX_IMPORT_BYTES, _RAW_TYPES, _WANTED)

    @property
    def wants_stream(self) -> bool:
        """Whether progress is wanted; known when all parts were taken."""
        return self._flags["stream"] or self._accepts_events

    async def parts(self) -> AsyncGenerator[pb.ImportRequest, None]:
        """The upload as storage takes it: the bytes as they come, then what to do with them."""
        async with aclosing(self._file.pieces()) as pieces:
            async for data in pieces:
                yield pb.ImportRequest(data=data)
        self._flags = read_flags([*self._query, *self._file.fields.items()], *_FLAGS)
        yield pb.ImportRequest(options=pb.ImportOptions(dry_run=self._flags["dry_run"]))


async def _stream(
    request: web.Request, first: pb.ImportResponse, answers: AsyncIterator[pb.ImportResponse]
) -> web.StreamResponse:
    """Progress as events, then the report. What is refused before any progress is refused with a status."""
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
