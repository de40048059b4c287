"""/v1/assistants: who answers in threads."""

from __future__ import annotations

from aiohttp import web

from gateway.body import json_response, read_body
from gateway.convert.assistants import assistant_from_proto, assistant_update, new_assistant
from gateway.keys import STORAGE
from gateway.paging import list_envelope, read_page
from gateway.path_ids import path_id
from gateway.schemas.assistants import CreateAssistant, ModifyAssistant
from jan.ids import AssistantId

routes = web.RouteTableDef()


@routes.post("/v1/assistants")
async def create_assistant(request: web.Request) -> web.Response:
    """Make an assistant. Its model need not be here yet."""
    body = await read_body(request, CreateAssistant)
    assistant = await request.app[STORAGE].create_assistant(new_assistant(body))
    return json_response(assistant_from_proto(assistant))


@routes.get("/v1/assistants")
async def list_assistants(request: web.Request) -> web.Response:
    """A page of assistants."""
    page = await request.app[STORAGE].list_assistants(read_page(request, AssistantId))
    return json_response(list_envelope([*map(assistant_from_proto, page.assistants)], has_more=page.has_more))


@routes.get("/v1/assistants/{assistant_id}")
async def get_assistant(request: web.Request) -> web.Response:
    """One assistant; 404 when it is unknown."""
    return json_response(assistant_from_proto(await request.app[STORAGE].get_assistant(_assistant_id_of(request))))


@routes.patch("/v1/assistants/{assistant_id}")
@routes.post("/v1/assistants/{assistant_id}")
async def modify_assistant(request: web.Request) -> web.Response:
    """Change the fields sent; 404 when the assistant is unknown."""
    assistant_id = _assistant_id_of(request)
    body = await read_body(request, ModifyAssistant)
    assistant = await request.app[STORAGE].update_assistant(assistant_update(assistant_id, body))
    return json_response(assistant_from_proto(assistant))


@routes.delete("/v1/assistants/{assistant_id}")
async def delete_assistant(request: web.Request) -> web.Response:
    """Remove an assistant; its threads stay. 404 the second time."""
    assistant_id = _assistant_id_of(request)
    await request.app[STORAGE].delete_assistant(assistant_id)
    return json_response({"id": assistant_id, "object": "assistant.deleted", "deleted": True})


def _assistant_id_of(request: web.Request) -> AssistantId:
    return path_id(request, "assistant_id", AssistantId)
