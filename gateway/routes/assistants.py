"""/v1/assistants: who answers in threads."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from gateway.convert.assistants import assistant_from_proto, assistant_update, new_assistant
from gateway.convert.json_fields import from_text
from gateway.http.body import json_response, read_body
from gateway.http.paging import list_envelope, read_page
from gateway.http.path_ids import path_id
from gateway.http.preconditions import etag, read_if_match
from gateway.idempotency.key import new_ids
from gateway.keys import INFERENCE, RECORDED, STORAGE
from gateway.models.lookup import find_model_or_any
from gateway.models.schemas import check_schemas, functions_of
from gateway.schemas.assistants import CreateAssistant, ModifyAssistant
from gateway.vector_stores.made_with import asked_store, made_with, with_store
from gateway.vector_stores.resources import check_resources
from jan.errors import NotFoundError
from jan.ids import AssistantId
from jan.storage.v1 import assistants_pb2

routes = web.RouteTableDef()

_BINDING = frozenset({"model", "tools_json", "response_format_json"})
"""What of an assistant its answers are bound by."""


@routes.post("/v1/assistants")
async def create_assistant(request: web.Request) -> web.Response:
    """Make an assistant, and its vector store with it if it asks for one. Its model need not be here yet."""
    body = await read_body(request, CreateAssistant)
    storage, ids = request.app[STORAGE], new_ids(request)
    await check_resources(storage, body.tool_resources)
    asked = asked_store(body.tool_resources, ids)
    made = new_assistant(with_store(body, asked), ids)
    await _check_schemas(request, made)
    create = partial(storage.create_assistant, made)
    assistant = await made_with(request.app[RECORDED], storage.vector_stores, asked, ids, create)
    return _assistant_response(assistant)


@routes.get("/v1/assistants")
async def list_assistants(request: web.Request) -> web.Response:
    """A page of assistants."""
    page = await request.app[STORAGE].list_assistants(read_page(request, AssistantId))
    return json_response(list_envelope([*map(assistant_from_proto, page.assistants)], has_more=page.has_more))


@routes.get("/v1/assistants/{assistant_id}")
async def get_assistant(request: web.Request) -> web.Response:
    """One assistant; 404 when it is unknown."""
    return _assistant_response(await request.app[STORAGE].get_assistant(_assistant_id_of(request)))


@routes.patch("/v1/assistants/{assistant_id}")
@routes.post("/v1/assistants/{assistant_id}")
async def modify_assistant(request: web.Request) -> web.Response:
    """Change the fields sent; 404 when the assistant is unknown, 412 when it is not the one in `If-Match`."""
    assistant_id = _assistant_id_of(request)
    body = await read_body(request, ModifyAssistant)
    await check_resources(request.app[STORAGE], body.tool_resources)
    update = assistant_update(assistant_id, body)
    update.if_revision.extend(read_if_match(request))
    if not _BINDING.isdisjoint(update.update_mask.paths):
        changed = await request.app[STORAGE].get_assistant(assistant_id)
        for path in _BINDING.intersection(update.update_mask.paths):
            setattr(changed, path, getattr(update.assistant, path))
        await _check_schemas(request, changed)
    assistant = await request.app[STORAGE].update_assistant(update)
    return _assistant_response(assistant)


@routes.delete("/v1/assistant/{assistant_id}")
@routes.delete("/v1/assistants/{assistant_id}")
async def delete_assistant(request: web.Request) -> web.Response:
    """Remove an assistant; its threads stay. 404 the second time. Jan's specification has the path without `s`, too."""
    assistant_id = _assistant_id_of(request)
    await request.app[STORAGE].delete_assistant(assistant_id, read_if_match(request))
    deleted = {"id": assistant_id, "object": "assistant.deleted", "deleted": True, "state": "to_download"}
    return json_response(deleted)


async def _check_schemas(request: web.Request, assistant: assistants_pb2.Assistant) -> None:
    """Raises InvalidArgumentError: an answer of its model could not be bound to its schemas; one not here may know."""
    try:
        model = await find_model_or_any(request.app[STORAGE], assistant.model)
    except NotFoundError:
        return
    tools = from_text(assistant.tools_json, [])
    functions = [tool for tool in tools if tool.get("type") == "function"]
    asked = {"tools": functions, "response_format": from_text(assistant.response_format_json)}
    await check_schemas(request.app[INFERENCE], model.engine, asked, functions_of(tools))


def _assistant_id_of(request: web.Request) -> AssistantId:
    return path_id(request, "assistant_id", AssistantId)


def _assistant_response(assistant: assistants_pb2.Assistant) -> web.Response:
    return json_response(assistant_from_proto(assistant), headers=etag(assistant.revision))
