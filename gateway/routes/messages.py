"""/v1/threads/{thread_id}/messages: what was said in a thread."""

from __future__ import annotations

from aiohttp import web

from gateway.convert.json_fields import to_text
from gateway.convert.messages import files_named_as_sent, message_from_proto, new_message
from gateway.http.body import json_response, read_body
from gateway.http.paging import list_envelope, read_page
from gateway.http.path_ids import path_id
from gateway.http.preconditions import etag, read_if_match
from gateway.idempotency.key import new_ids
from gateway.keys import STORAGE
from gateway.routes.threads import thread_id_of
from gateway.schemas.messages import CreateMessage, ModifyMessage
from gateway.vector_stores.attachments import search_attachments
from jan.errors import InvalidArgumentError, PreconditionFailedError
from jan.ids import MessageId, RunId, ThreadId
from jan.storage.v1 import messages_pb2

routes = web.RouteTableDef()


@routes.post("/v1/threads/{thread_id}/messages")
async def create_message(request: web.Request) -> web.Response:
    """Append a message to a thread; 404 when the thread is unknown, 400 while a run is active on it.

    What it attaches for `file_search` goes into the thread's vector store.
    """
    thread_id = thread_id_of(request)
    body = await read_body(request, CreateMessage)
    storage = request.app[STORAGE]
    with files_named_as_sent([body]):
        message = await storage.create_message(new_message(body, new_ids(request), thread_id))
    await search_attachments(storage, thread_id, [body])
    return _message_response(message)


@routes.get("/v1/threads/{thread_id}/messages")
async def list_messages(request: web.Request) -> web.Response:
    """A page of a thread's messages, or of those that the run in `run_id` wrote; 404 when the thread is unknown."""
    thread_id = thread_id_of(request)
    page = await request.app[STORAGE].list_messages(
        messages_pb2.ListMessagesRequest(
            thread_id=thread_id, page=read_page(request, MessageId), run_id=_read_run_id(request)
        )
    )
    return json_response(list_envelope([*map(message_from_proto, page.messages)], has_more=page.has_more))


@routes.get("/v1/threads/{thread_id}/messages/{message_id}")
async def get_message(request: web.Request) -> web.Response:
    """One message; 404 when it or its thread is unknown."""
    thread_id, message_id = _path(request)
    return _message_response(await request.app[STORAGE].get_message(thread_id, message_id))


@routes.patch("/v1/threads/{thread_id}/messages/{message_id}")
@routes.post("/v1/threads/{thread_id}/messages/{message_id}")
async def modify_message(request: web.Request) -> web.Response:
    """Replace a message's metadata if it is sent; 404 when it or its thread is unknown, 412 when `If-Match` fails."""
    thread_id, message_id = _path(request)
    body = await read_body(request, ModifyMessage)
    storage = request.app[STORAGE]
    if_match = read_if_match(request)
    if "metadata" in body.model_fields_set:
        message = await storage.update_message(thread_id, message_id, to_text(body.metadata or {}), if_match)
    else:
        message = await storage.get_message(thread_id, message_id)
        if if_match and message.revision not in if_match:
            raise PreconditionFailedError("The message changed since it was read.")
    return _message_response(message)


@routes.delete("/v1/threads/{thread_id}/messages/{message_id}")
async def delete_message(request: web.Request) -> web.Response:
    """Remove a message. 404 the second time."""
    thread_id, message_id = _path(request)
    await request.app[STORAGE].delete_message(thread_id, message_id, read_if_match(request))
    return json_response({"id": message_id, "object": "thread.message.deleted", "deleted": True})


def _path(request: web.Request) -> tuple[ThreadId, MessageId]:
    return thread_id_of(request), path_id(request, "message_id", MessageId)


def _message_response(message: messages_pb2.Message) -> web.Response:
    return json_response(message_from_proto(message), headers=etag(message.revision))


def _read_run_id(request: web.Request) -> str:
    text = request.query.get("run_id")
    try:
        return RunId.parse(text) if text else ""
    except InvalidArgumentError as error:
        raise InvalidArgumentError(error.message, code=error.code, param="run_id") from None
