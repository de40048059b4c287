"""/v1/threads/{thread_id}/models: which models answer in a thread, and with what. Jan's; OpenAI has no such routes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway.convert.thread_models import thread_model
from gateway.http.body import json_response, read_body
from gateway.http.paging import list_envelope
from gateway.http.preconditions import etag, read_if_match
from gateway.keys import STORAGE
from gateway.models.lookup import ANY_MODEL, find_model, find_model_or_any
from gateway.models.threads import assistant_of, layers, overrides_of, with_overrides
from gateway.routes.threads import thread_id_of
from gateway.schemas.thread_models import ChangeThreadModel
from gateway.services.storage import StorageClient
from jan.errors import NotFoundError, PreconditionFailedError
from jan.ids import ThreadId
from jan.storage.v1 import assistants_pb2, models_pb2, threads_pb2

# How often a change is made again when somebody else changed the thread meanwhile.
_RETRIES = 4

routes = web.RouteTableDef()


@routes.get("/v1/threads/{thread_id}/models")
async def list_thread_models(request: web.Request) -> web.Response:
    """The model that answers, those that the thread overrides something of, and the assistant's others."""
    storage = request.app[STORAGE]
    view = await _look(storage, await storage.get_thread(thread_id_of(request)))
    here = {model.id: model for model in await storage.list_models()}
    data = [view.shown(here.get(name) or models_pb2.Model(id=name), available=name in here) for name in view.names()]
    return json_response(list_envelope(data, has_more=False), headers=etag(view.thread.revision))


@routes.get("/v1/threads/{thread_id}/models/{model_id:.+}")
async def get_thread_model(request: web.Request) -> web.Response:
    """How one model would answer in the thread; 404 when one of them is unknown."""
    storage = request.app[STORAGE]
    thread = await storage.get_thread(thread_id_of(request))
    model = await find_model(storage, request.match_info["model_id"])
    return _response(await _look(storage, thread), model)


@routes.patch("/v1/threads/{thread_id}/models/{model_id:.+}")
@routes.post("/v1/threads/{thread_id}/models/{model_id:.+}")
async def change_thread_model(request: web.Request) -> web.Response:
    """Set what the thread overrides of a model: the fields sent, where null clears.

    404 when one of them is unknown, 412 when the thread is not the one in `If-Match`.
    """
    thread_id = thread_id_of(request)
    body = await read_body(request, ChangeThreadModel)
    if_revision = read_if_match(request)
    for _ in range(0 if if_revision else _RETRIES):
        with contextlib.suppress(PreconditionFailedError):
            return await _change(request, thread_id, body, if_revision)
    return await _change(request, thread_id, body, if_revision)


async def _change(
    request: web.Request, thread_id: ThreadId, body: ChangeThreadModel, if_revision: list[str]
) -> web.Response:
    """Change the thread as it is now. Raises PreconditionFailedError: it is another one meanwhile."""
    storage = request.app[STORAGE]
    thread = await storage.get_thread(thread_id)
    model = await find_model(storage, request.match_info["model_id"])
    view = await _look(storage, thread)
    update = with_overrides(
        thread,
        model.id,
        answers=view.answers(model.id),
        parameters=body.changed_parameters(),
        settings=body.changed_settings(),
    )
    if if_revision:
        update.if_revision[:] = if_revision
    return _response(await _look(storage, await storage.update_thread(update)), model)


@dataclass(frozen=True, slots=True)
class _View:
    """A thread with its assistant and the model that answers in it; None for those that are not there."""

    thread: threads_pb2.Thread
    assistant: assistants_pb2.Assistant | None
    model_id: str | None

    def answers(self, model_id: str) -> bool:
        return model_id == self.model_id

    def names(self) -> list[str]:
        """The ids of all models that the thread or its assistant speaks of, the one that answers first."""
        assistant = [] if self.assistant is None else [self.assistant.model, *self.assistant.further_models]
        named = [self.model_id, *(model.id for model in self.thread.models), *assistant]
        return list(dict.fromkeys(name for name in named if name and name != ANY_MODEL))

    def shown(self, model: models_pb2.Model, *, available: bool) -> dict[str, Any]:
        assistant_id = assistant_of(self.thread).assistant_id
        return thread_model(
            self.thread.id,
            model,
            layers(self.thread, assistant_id, self.assistant, model),
            overrides_of(self.thread, assistant_id, model.id),
            answers=self.answers(model.id),
            available=available,
        )


async def _look(storage: StorageClient, thread: threads_pb2.Thread) -> _View:
    entry = assistant_of(thread)
    try:
        assistant = await storage.get_assistant(entry.assistant_id)
    except NotFoundError:
        assistant = None
    name = entry.model_id or (assistant.model if assistant is not None else "")
    try:
        return _View(thread, assistant, (await find_model_or_any(storage, name)).id)
    except NotFoundError:
        return _View(thread, assistant, name if name != ANY_MODEL else None)


def _response(view: _View, model: models_pb2.Model) -> web.Response:
    return json_response(view.shown(model, available=True), headers=etag(view.thread.revision))
