"""Models made of weights that lie on the server's machine: by link, or as a copy."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import orjson
from aiohttp import web

from gateway.convert.model_imports import imported_from_proto, progress_from_proto
from gateway.http.body import json_response, read_body
from gateway.http.errors import jan_error_body
from gateway.http.sse import DONE, EventStream, frame
from gateway.keys import INFERENCE, STORAGE
from gateway.models.lookup import model_spec
from gateway.schemas.model_imports import ImportModel
from jan.errors import DeadlineExceededError, InternalError, JanError, NotFoundError, UnavailableError
from jan.ids import ModelId
from jan.inference.v1 import control_pb2
from jan.storage.v1 import model_imports_pb2 as pb

routes = web.RouteTableDef()

_UNSEEN = (
    "No engine host can open the files: what links lead to must be there for the inference service, too, at the same "
    "path (docs/models.md)."
)


@routes.post("/v1/models/import")
async def import_model(request: web.Request) -> web.StreamResponse:
    """Take in a GGUF file or a folder of safetensors; `"stream": true` tells progress as server-sent events.

    A client that leaves ends it, and nothing is left behind. 403 for a path that the settings do not allow, whether
    anything is there or not; 400 for what makes no model, 409 when the id is taken, 507 without room.
    """
    body = await read_body(request, ImportModel)
    wanted = pb.ImportModelRequest(
        path=body.model_path,
        model_id=ModelId.parse(body.model) if body.model else "",
        name=body.name or "",
        copy=body.option == "copy",
        base_model=body.base_model or "",
    )
    async with aclosing(request.app[STORAGE].import_model(wanted)) as answers:
        # What is refused is refused before the first part of the answer, and so with a status.
        await anext(answers)
        if body.stream:
            return await _stream(request, answers)
        async for answer in answers:
            if answer.HasField("imported"):
                return json_response(imported_from_proto(answer.imported, await _remark(request, answer.imported)))
    raise InternalError("The import ended without a model.")


async def _stream(request: web.Request, answers: AsyncIterator[pb.ImportModelResponse]) -> web.StreamResponse:
    began = time.monotonic()
    async with EventStream(request) as stream:
        try:
            async for answer in answers:
                if answer.HasField("imported"):
                    imported = imported_from_proto(answer.imported, await _remark(request, answer.imported))
                    await stream.write(frame(orjson.dumps(imported), event="model.import.completed"))
                else:
                    progress = progress_from_proto(answer.progress, time.monotonic() - began)
                    await stream.write(frame(orjson.dumps(progress), event="model.import.progress"))
        except JanError as error:
            await stream.write(frame(jan_error_body(error), event="error"))
        await stream.write(DONE)
    return stream.response


async def _remark(request: web.Request, imported: pb.ImportedModel) -> str:
    """Why no engine host could load it; empty when one can, and when none answers."""
    try:
        await request.app[INFERENCE].fit(control_pb2.FitModelRequest(model=model_spec(imported.model)))
    except (UnavailableError, DeadlineExceededError):
        return ""
    except NotFoundError:
        return _UNSEEN
    except JanError as error:
        return error.message
    return ""
