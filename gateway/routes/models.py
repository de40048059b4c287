"""/v1/models: what can be asked, whether it fits, its life: start, stop, and what happens meanwhile; changing it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
from aiohttp import web

from gateway.anthropic.models import model_info, model_page
from gateway.anthropic.routes import asks_for_anthropics_models
from gateway.convert.devices import fit_from_proto, fit_request
from gateway.convert.models import model_from_proto, model_update, state_from_proto
from gateway.convert.pulls import life_from_pull, model_from_pull
from gateway.http.body import json_response, read_body
from gateway.http.preconditions import etag, read_if_match
from gateway.http.sse import KEEP_ALIVE, KEEP_ALIVE_SECONDS, EventStream, frame
from gateway.keys import INFERENCE, STORAGE
from gateway.models.coming import coming_models, find_usable
from gateway.models.lookup import find_model, model_spec
from gateway.schemas.models import FitModel, ModifyModel, StartModel, StartNamedModel, StopNamedModel
from jan.errors import ConflictError, DeadlineExceededError, NotFoundError, UnavailableError
from jan.inference.v1 import control_pb2
from jan.storage.v1 import models_pb2, pulls_pb2
from jan.telemetry import get_logger

logger = get_logger(__name__)

routes = web.RouteTableDef()


@routes.get("/v1/models")
async def list_models(request: web.Request) -> web.Response:
    """Every model, by id, those that are being downloaded too; OpenAI does not page them.

    Clients of Anthropic's, which send `anthropic-version`, are told those that can be asked in its form, in pages.
    """
    models = await request.app[STORAGE].list_models()
    data, coming = await _shown(request, models)
    if asks_for_anthropics_models(request):
        return json_response(model_page(request, data))
    data += [model_from_pull(pull) for pull in coming.values()]
    return json_response({"object": "list", "data": sorted(data, key=lambda model: str(model["id"]))})


@routes.get("/v1/models/events")
async def watch_models(request: web.Request) -> web.StreamResponse:
    """The state of every model that was asked for, then each change, as server-sent events; it never ends by itself."""
    async with request.app[INFERENCE].watching() as changes, EventStream(request) as stream:
        while True:
            try:
                async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                    status = await changes.get()
            except TimeoutError:
                await stream.write(KEEP_ALIVE)
                continue
            if status is None:
                return stream.response
            await stream.write(frame(orjson.dumps(state_from_proto(status)), event="model.state"))


@routes.get("/v1/models/{model_id:.+}")
async def get_model(request: web.Request) -> web.Response:
    """One model; its id may hold slashes, plain or percent-encoded. 404 when it is unknown.

    Clients of Anthropic's are told it in its form.
    """
    wanted = request.match_info["model_id"]
    if asks_for_anthropics_models(request):
        [shown], _ = await _shown(request, [await find_model(request.app[STORAGE], wanted)])
        return json_response(model_info(shown))
    try:
        model = await find_model(request.app[STORAGE], wanted)
    except NotFoundError:
        coming = await coming_models(request)
        if wanted not in coming:
            raise
        return json_response(model_from_pull(coming[wanted]))
    return await _answer(request, model)


@routes.patch("/v1/models/{model_id:.+}")
async def modify_model(request: web.Request) -> web.Response:
    """Change a model's name, settings or parameters; 412 when it is not the one in `If-Match`.

    Changed settings have it loaded again by its next job, changed parameters do not.
    """
    body = await read_body(request, ModifyModel)
    storage = request.app[STORAGE]
    update = model_update((await find_model(storage, request.match_info["model_id"])).id, body)
    update.if_revision.extend(read_if_match(request))
    return await _answer(request, await storage.update_model(update))


@routes.delete("/v1/models/{model_id:.+}")
async def delete_model(request: web.Request) -> web.Response:
    """Move a model into the trash and unload it once the answers being written are whole.

    In this order: nothing can load it again in between. 409 when LoRA adapters need it, and while it is downloaded.
    """
    storage = request.app[STORAGE]
    wanted = request.match_info["model_id"]
    try:
        model = await find_model(storage, wanted)
    except NotFoundError:
        coming = (await coming_models(request)).get(wanted)
        if coming is None:
            raise
        raise ConflictError(
            f"The model '{wanted}' is being downloaded; DELETE /v1/models/pull/{coming.id} ends that.",
            code="model_downloading",
            param="model",
        ) from None
    trash_id = await storage.delete_model(model.id, read_if_match(request))
    try:
        await request.app[INFERENCE].stop(model.id)
    except (UnavailableError, DeadlineExceededError) as error:
        # Without a host nothing is loaded; one that takes long goes on with it.
        logger.warning("a deleted model may still be loaded", model=model.id, reason=error.message)
    return json_response({"id": model.id, "object": "model", "deleted": True, "trash_id": trash_id})


@routes.post("/v1/models/start")
async def start_named_model(request: web.Request) -> web.Response:
    """As cortex had it: the model is named in the body."""
    body = await read_body(request, StartNamedModel)
    return await _start(request, body.model, wait=body.wait)


@routes.post("/v1/models/stop")
async def stop_named_model(request: web.Request) -> web.Response:
    """As cortex had it: the model is named in the body."""
    return await _stop(request, (await read_body(request, StopNamedModel)).model)


@routes.post("/v1/models/{model_id:.+}/start")
@routes.put("/v1/models/{model_id:.+}/start")
async def start_model(request: web.Request) -> web.Response:
    """Load a model and answer with it once it runs, or at once with `{"wait": false}`. A load outlives its client."""
    body = await read_body(request, StartModel)
    return await _start(request, request.match_info["model_id"], wait=body.wait)


@routes.post("/v1/models/{model_id:.+}/stop")
@routes.put("/v1/models/{model_id:.+}/stop")
async def stop_model(request: web.Request) -> web.Response:
    """Unload a model once the answers being written are whole; the next job loads it again."""
    return await _stop(request, request.match_info["model_id"])


@routes.post("/v1/models/{model_id:.+}/fit")
async def fit_model(request: web.Request) -> web.Response:
    """Whether a model would fit, for a context, a concurrency and devices; nothing is loaded for the answer."""
    body = await read_body(request, FitModel)
    model = await find_model(request.app[STORAGE], request.match_info["model_id"])
    return json_response(fit_from_proto(model.id, await request.app[INFERENCE].fit(fit_request(model, body))))


async def _answer(request: web.Request, model: models_pb2.Model) -> web.Response:
    [shown], _ = await _shown(request, [model])
    return json_response(shown, headers=etag(model.revision))


async def _shown(
    request: web.Request, models: Sequence[models_pb2.Model]
) -> tuple[list[dict[str, Any]], dict[str, pulls_pb2.Pull]]:
    """Models as they are, with the states of their downloads; and the downloads of others, by model."""
    inference = request.app[INFERENCE]
    statuses, previews, coming = await asyncio.gather(
        inference.statuses(), inference.previews([model_spec(model) for model in models]), coming_models(request)
    )
    shown: list[dict[str, Any]] = []
    for model in models:
        pull = coming.pop(model.id, None)
        told = model_from_proto(model, statuses.get(model.id), previews.get(model.id))
        shown.append(told | (life_from_pull(pull) if pull is not None else {}))
    return shown, coming


async def _told(request: web.Request, model: models_pb2.Model, status: control_pb2.ModelStatus) -> web.Response:
    preview = (await request.app[INFERENCE].previews([model_spec(model)])).get(model.id)
    return json_response(model_from_proto(model, status, preview))


async def _start(request: web.Request, model_id: str, *, wait: bool) -> web.Response:
    model = await find_usable(request, model_id)
    status = await request.app[INFERENCE].start(model_spec(model), wait=wait)
    return await _told(request, model, status)


async def _stop(request: web.Request, model_id: str) -> web.Response:
    model = await find_model(request.app[STORAGE], model_id)
    return await _told(request, model, await request.app[INFERENCE].stop(model.id))
