"""Downloads of models: begin one, follow it, list them, cancel."""

from __future__ import annotations

import asyncio

import orjson
from aiohttp import web

from gateway.convert.devices import fit_from_proto, fit_request, sizes_to_proto
from gateway.convert.models import model_from_proto
from gateway.convert.pulls import (
    ENDED,
    failure_body,
    life_from_pull,
    model_from_pull,
    progress_from_proto,
    pull_from_proto,
)
from gateway.http.body import json_response, read_body
from gateway.http.path_ids import path_id
from gateway.http.sse import DONE, KEEP_ALIVE, KEEP_ALIVE_SECONDS, EventStream, frame
from gateway.keys import INFERENCE, PULLS, STORAGE
from gateway.models.coming import coming_models
from gateway.models.lookup import find_model
from gateway.pulls.plan import Named
from gateway.schemas.pulls import CancelPull, FitSource, PullModel, PullNamedModel
from jan.errors import (
    ConflictError,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from jan.formats.description import usual_ctx_len
from jan.ids import PullId
from jan.storage.v1 import models_pb2, pulls_pb2

routes = web.RouteTableDef()

# At most five times a second.
PROGRESS_SECONDS = 0.2


@routes.post("/v1/models/pull")
async def pull_model(request: web.Request) -> web.StreamResponse:
    """Download a model from a URL, a Hugging Face repository or a list of files. It goes on when its reader leaves.

    202 with the download, or its progress as server-sent events with `"stream": true`. 403 when the settings forbid it,
    409 when the model is here, 507 when there is no room.
    """
    body = await read_body(request, PullModel)
    return await _pull(request, body)


@routes.post("/v1/models")
async def add_model(request: web.Request) -> web.StreamResponse:
    """As Jan had it: download a model, from what `pull` takes, or with `id` alone what its model.json names."""
    body = await read_body(request, PullModel)
    if body.id and not (body.model or body.source or body.source_url or body.sources):
        model = await find_model(request.app[STORAGE], body.id)
        return await _begin(request, await _missing(request, model), stream=body.stream)
    return await _pull(request, body)


@routes.get("/v1/models/download/{model_id:.+}", allow_head=False)
async def download_model(request: web.Request) -> web.Response:
    """As Jan had it: fetch what a model.json names and is not here, and answer at once with the model's state."""
    _check_asked_by_its_user(request)
    for name in ("ignoreSSL", "proxy"):
        if request.query.get(name, "false") not in ("", "false"):
            message = f"'{name}' is for this server's administrator to decide, not for a request."
            raise InvalidArgumentError(message, param=name, code="unsupported_parameter")
    model_id = request.match_info["model_id"]
    coming = await coming_models(request)
    if model_id in coming and coming[model_id].state != pulls_pb2.PULL_STATE_ERROR:
        return json_response(model_from_pull(coming[model_id]))
    model = await find_model(request.app[STORAGE], model_id)
    if not model.missing_files:
        return json_response(model_from_proto(model))
    pull = await request.app[PULLS].begin(await _missing(request, model))
    return json_response(model_from_proto(model) | life_from_pull(pull))


async def _pull(request: web.Request, body: PullModel) -> web.StreamResponse:
    planner = request.app[PULLS].planner
    base = await _base_of(request, body)
    named = body.model or body.source or body.source_url
    if body.sources is not None:
        if not body.id:
            raise InvalidArgumentError("Say under which 'id' the model is to be kept.", param="id")
        files = [Named(file.url, file.filename or "", file.sha256 or "") for file in body.sources]
        plan = await planner.plan_sources(files, body.id)
    elif named:
        plan = await planner.plan(named, wanted=body.id or "", revision=body.revision or "")
    else:
        raise InvalidArgumentError("Name what to download: 'model', or a list of 'sources'.", param="model")
    return await _begin(request, plan.request(body.name or "", base), stream=body.stream)


@routes.post("/v1/models/{model_id:.+}/pull")
async def pull_named_model(request: web.Request) -> web.StreamResponse:
    """Download the weights that a model.json names in its `sources`, and that are not here yet."""
    body = await read_body(request, PullNamedModel)
    model = await find_model(request.app[STORAGE], request.match_info["model_id"])
    return await _begin(request, await _missing(request, model), stream=body.stream)


@routes.post("/v1/models/fit")
async def fit_source(request: web.Request) -> web.Response:
    """Whether a model would fit that is not here yet; of its files only the heads are fetched."""
    body = await read_body(request, FitSource)
    puller = request.app[PULLS]
    plan = await puller.planner.plan(body.source, revision=body.revision or "")
    described = await puller.headers.describe(plan)
    # Its settings would be those of a fresh download.
    settings = {"ctx_len": usual_ctx_len(described)} if plan.format == "gguf" else {}
    model = models_pb2.Model(
        id=plan.model_id, engine=plan.engine, format=plan.format, settings_json=orjson.dumps(settings).decode()
    )
    question = fit_request(model, body)
    question.sizes.CopyFrom(sizes_to_proto(described))
    return json_response(fit_from_proto(plan.model_id, await request.app[INFERENCE].fit(question)))


@routes.get("/v1/models/pull")
async def list_pulls(request: web.Request) -> web.Response:
    """The downloads under way, and those that ended lately, the newest first."""
    pulls = await request.app[PULLS].pulls.all()
    return json_response({"object": "list", "data": [pull_from_proto(pull) for pull in reversed(pulls)]})


@routes.get("/v1/models/pull/{pull_id}")
async def get_pull(request: web.Request) -> web.Response:
    """One download; 404 when it is unknown, or ended long ago."""
    return json_response(pull_from_proto(await request.app[PULLS].pulls.get(_pull_id(request))))


@routes.get("/v1/models/pull/{pull_id}/events")
async def watch_pull(request: web.Request) -> web.StreamResponse:
    """The progress of a download as server-sent events, to its end."""
    return await _follow(request, await request.app[PULLS].pulls.get(_pull_id(request)))


@routes.delete("/v1/models/pull/{pull_id}")
async def cancel_pull(request: web.Request) -> web.Response:
    """End a download and remove what was fetched; one that has ended is forgotten, and answered as it was."""
    return json_response(pull_from_proto(await request.app[PULLS].cancel(_pull_id(request))))


@routes.delete("/v1/models/pull")
async def cancel_named_pull(request: web.Request) -> web.Response:
    """As cortex had it: the download is named in the body."""
    pull_id = PullId.parse((await read_body(request, CancelPull)).taskId)
    return json_response(pull_from_proto(await request.app[PULLS].cancel(pull_id)))


async def _base_of(request: web.Request, body: PullModel) -> str:
    """The id of the model that an adapter is said to belong to; "" when nothing is said. Raises NotFoundError."""
    if not body.base_model:
        return ""
    try:
        return (await find_model(request.app[STORAGE], body.base_model)).id
    except NotFoundError as unknown:
        raise NotFoundError(unknown.message, code=unknown.code, param="base_model") from None


async def _missing(request: web.Request, model: models_pb2.Model) -> pulls_pb2.BeginPullRequest:
    """The download of what a model.json names and is not here. Raises ConflictError: there is nothing of that."""
    missing = [Named(source.url, source.filename) for source in model.sources if source.filename in model.missing_files]
    if not missing:
        raise ConflictError(f"The model '{model.id}' has nothing that is still to be downloaded.", code="model_exists")
    plan = await request.app[PULLS].planner.plan_sources(missing, model.id)
    return plan.request(described=True)


def _check_asked_by_its_user(request: web.Request) -> None:
    """A GET that does something: no other site's page may have a browser ask for it (docs/security.md S4)."""
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise PermissionDeniedError("A page of another site asks for a download; POST /v1/models/pull begins one.")


async def _begin(request: web.Request, wanted: pulls_pb2.BeginPullRequest, *, stream: bool) -> web.StreamResponse:
    pull = await request.app[PULLS].begin(wanted)
    if stream:
        return await _follow(request, pull)
    return json_response(pull_from_proto(pull), status=202)


async def _follow(request: web.Request, pull: pulls_pb2.Pull) -> web.StreamResponse:
    """Tell how a download goes, whichever gateway works at it; nothing is told twice in a row."""
    loop = asyncio.get_running_loop()
    async with EventStream(request) as stream:
        said, said_at = b"", loop.time()
        while pull.state not in ENDED:
            data = orjson.dumps(progress_from_proto(pull))
            if data != said:
                await stream.write(frame(data, event="model.pull.progress"))
                said, said_at = data, loop.time()
            elif loop.time() - said_at > KEEP_ALIVE_SECONDS:
                await stream.write(KEEP_ALIVE)
                said_at = loop.time()
            if await _is_leaving(request):
                return stream.response
            pull = await _again(request, pull)
        await stream.write(_last(pull) + DONE)
    return stream.response


async def _is_leaving(request: web.Request) -> bool:
    """Wait for the next moment to tell something; whether the gateway is about to end."""
    try:
        async with asyncio.timeout(PROGRESS_SECONDS):
            return await request.app[PULLS].is_leaving.wait()
    except TimeoutError:
        return False


async def _again(request: web.Request, pull: pulls_pb2.Pull) -> pulls_pb2.Pull:
    """The download as it is now; as it was, while storage is away. Raises NotFoundError: it ended long ago."""
    try:
        return await request.app[PULLS].pulls.get(pull.id)
    except (UnavailableError, DeadlineExceededError):
        return pull


def _last(pull: pulls_pb2.Pull) -> bytes:
    if pull.state == pulls_pb2.PULL_STATE_COMPLETED:
        return frame(orjson.dumps(pull_from_proto(pull)), event="model.pull.completed")
    return frame(failure_body(pull), event="error")


def _pull_id(request: web.Request) -> PullId:
    """The download that the path names. Raises NotFoundError when it cannot be one's id."""
    return path_id(request, "pull_id", PullId)
