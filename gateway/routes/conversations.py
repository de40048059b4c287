"""/v1/conversations: every thread of the janroot in OpenAI's words for the Responses API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from aiohttp import web

from gateway.convert.items import item_from_message
from gateway.convert.json_fields import string_map, to_text
from gateway.convert.threads import new_thread
from gateway.convert.times import seconds
from gateway.http.body import json_response, read_body
from gateway.http.paging import list_envelope, read_page
from gateway.http.path_ids import path_id
from gateway.idempotency.key import new_ids
from gateway.keys import STORAGE
from gateway.responses.files import with_files_read
from gateway.responses.inputs import input_messages
from gateway.routes.threads import cancel_jobs
from gateway.schemas.common import JsonObject
from gateway.schemas.conversations import CreateConversation, CreateItems, UpdateConversation
from gateway.schemas.responses import includes_results
from jan.errors import InvalidArgumentError, NotFoundError
from jan.ids import ConversationId, MessageId, ThreadId
from jan.storage.v1 import messages_pb2, threads_pb2

routes = web.RouteTableDef()


@routes.post("/v1/conversations")
async def create_conversation(request: web.Request) -> web.Response:
    """Make a conversation, which is a thread, with its first items."""
    body = await read_body(request, CreateConversation)
    ids = new_ids(request)
    draft = new_thread(None, ids)
    draft.thread.metadata_json = to_text(body.metadata or {})
    items = await with_files_read(request.app[STORAGE], body.items or (), field="items")
    draft.messages.extend(await input_messages(request.app[STORAGE], items, ids, (), field="items"))
    return json_response(_conversation(await request.app[STORAGE].create_thread(draft)))


@routes.get("/v1/conversations/{conversation_id}")
async def get_conversation(request: web.Request) -> web.Response:
    """A conversation, whichever API made it."""
    with _or_not_found(request):
        return json_response(_conversation(await request.app[STORAGE].get_thread(_thread_id_of(request))))


@routes.post("/v1/conversations/{conversation_id}")
async def update_conversation(request: web.Request) -> web.Response:
    """Replace a conversation's metadata if it is sent."""
    body = await read_body(request, UpdateConversation)
    thread = threads_pb2.Thread(id=_thread_id_of(request), metadata_json=to_text(body.metadata or {}))
    update = threads_pb2.UpdateThreadRequest(thread=thread)
    update.update_mask.paths.extend(["metadata_json"] if "metadata" in body.model_fields_set else [])
    with _or_not_found(request):
        return json_response(_conversation(await request.app[STORAGE].update_thread(update)))


@routes.delete("/v1/conversations/{conversation_id}")
async def delete_conversation(request: web.Request) -> web.Response:
    """Move a conversation with all it holds into the trash; an active response ends. 404 the second time."""
    thread_id = _thread_id_of(request)
    with _or_not_found(request):
        ended = await request.app[STORAGE].delete_thread(thread_id)
    await cancel_jobs(request, ended)
    return json_response({"id": ConversationId.of(thread_id), "object": "conversation.deleted", "deleted": True})


@routes.get("/v1/conversations/{conversation_id}/items")
async def list_items(request: web.Request) -> web.Response:
    """A page of a conversation's items, the newest first unless asked otherwise."""
    with_results = includes_results(request.query)
    page = read_page(request, MessageId)
    asked = messages_pb2.ListMessagesRequest(thread_id=_thread_id_of(request), page=page)
    with _or_not_found(request):
        listed = await request.app[STORAGE].list_messages(asked)
    return json_response(_items(listed.messages, with_results=with_results, has_more=listed.has_more))


@routes.post("/v1/conversations/{conversation_id}/items")
async def create_items(request: web.Request) -> web.Response:
    """Append items in their order, all or none, and answer each as it stands; 400 while a response is being written."""
    body = await read_body(request, CreateItems)
    with_results = includes_results(request.query)
    thread_id, ids = _thread_id_of(request), new_ids(request)
    storage = request.app[STORAGE]
    with _or_not_found(request):
        await storage.get_thread(thread_id)
    items = await with_files_read(storage, body.items, field="items")
    messages = await input_messages(storage, items, ids, thread_id, field="items", all_told=True)
    with _or_not_found(request):
        stored = await storage.create_messages(thread_id, messages)
    return json_response(_items(stored, with_results=with_results))


@routes.get("/v1/conversations/{conversation_id}/items/{item_id}")
async def get_item(request: web.Request) -> web.Response:
    """One item."""
    with_results = includes_results(request.query)
    item_id = path_id(request, "item_id", MessageId)
    with _or_not_found(request, "item_id"):
        message = await request.app[STORAGE].get_message(_thread_id_of(request), item_id)
    return json_response(item_from_message(message, with_results=with_results))


@routes.delete("/v1/conversations/{conversation_id}/items/{item_id}")
async def delete_item(request: web.Request) -> web.Response:
    """Remove an item; answers the conversation. 404 the second time."""
    thread_id = _thread_id_of(request)
    with _or_not_found(request, "item_id"):
        await request.app[STORAGE].delete_message(thread_id, path_id(request, "item_id", MessageId))
    return json_response(_conversation(await request.app[STORAGE].get_thread(thread_id)))


@contextmanager
def _or_not_found(request: web.Request, name: str = "conversation_id") -> Iterator[None]:
    """Say in this API's words that what the path names is not there. Raises NotFoundError."""
    try:
        yield
    except NotFoundError:
        what = name.removesuffix("_id").capitalize()
        raise NotFoundError(f"{what} with id {request.match_info[name][:160]!a} not found.") from None


def _thread_id_of(request: web.Request) -> ThreadId:
    """The thread that the path's conversation is. Raises NotFoundError: no conversation can be called so."""
    with _or_not_found(request):
        try:
            return path_id(request, "conversation_id", ConversationId).thread_id
        except InvalidArgumentError as error:
            raise NotFoundError(error.message) from None


def _items(messages: Iterable[messages_pb2.Message], *, with_results: bool, has_more: bool = False) -> JsonObject:
    items = [item_from_message(message, with_results=with_results) for message in messages]
    return list_envelope(items, has_more=has_more)


def _conversation(thread: threads_pb2.Thread) -> JsonObject:
    return {
        "id": ConversationId.of(thread.id),
        "object": "conversation",
        "created_at": seconds(thread.created_at),
        "metadata": string_map(thread.metadata_json),
    }
