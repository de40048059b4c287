"""/v1/chat/completions, the stored ones: list them, change their metadata, read their messages."""

from __future__ import annotations

import re

from aiohttp import web

from gateway.completions.stored import from_proto, messages_of, owner_of
from gateway.convert.json_fields import to_text
from gateway.http.body import json_response, read_body, validate
from gateway.http.paging import list_envelope, page_of, read_page
from gateway.keys import COMPLETIONS
from gateway.queueing.tenant import key_digest
from gateway.routes.chat_completions import completion_id_of, stored_chat
from gateway.schemas.stored_completions import MetadataFilter, UpdateCompletion
from jan.ids import CompletionId, MessageId

routes = web.RouteTableDef()

_METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)


@routes.get("/v1/chat/completions")
async def list_chat_completions(request: web.Request) -> web.Response:
    """A page of stored chats, oldest first unless asked otherwise; `model` and `metadata[key]=value` narrow it."""
    page = read_page(request, CompletionId, default_order="asc")
    pairs = {match[1]: value for name, value in request.query.items() if (match := _METADATA.fullmatch(name))}
    wanted = validate({"metadata": pairs}, MetadataFilter)
    listed = await request.app[COMPLETIONS].list(
        page, owner_of(key_digest(request)), request.query.get("model", ""), wanted.metadata
    )
    return json_response(list_envelope([*map(from_proto, listed.completions)], has_more=listed.has_more))


@routes.post("/v1/chat/completions/{completion_id}")
async def update_chat_completion(request: web.Request) -> web.Response:
    """Replace a stored chat's metadata, which is all that can be changed of it."""
    body = await read_body(request, UpdateCompletion)
    changed = await request.app[COMPLETIONS].update(
        completion_id_of(request), owner_of(key_digest(request)), to_text(body.metadata or {})
    )
    return json_response(from_proto(changed))


@routes.get("/v1/chat/completions/{completion_id}/messages")
async def list_chat_completion_messages(request: web.Request) -> web.Response:
    """A page of the messages that a stored chat was asked with, in their order unless asked otherwise."""
    page = read_page(request, MessageId, default_order="asc")
    messages = messages_of(await stored_chat(request, completion_id_of(request)))
    chosen, has_more = page_of(messages, page)
    return json_response(list_envelope(chosen, has_more=has_more))
