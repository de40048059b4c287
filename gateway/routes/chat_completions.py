"""/v1/chat/completions: answer a chat, whole or streamed; take a stream up again, or end it."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from gateway.completions.chat import chat_completion_job
from gateway.completions.resumable import Chats
from gateway.http.body import json_response, read_body
from gateway.http.path_ids import path_id
from gateway.http.sse import EventStream
from gateway.keys import CHATS, JOBS
from gateway.models.coming import find_usable
from gateway.models.lookup import REMOTE_ENGINE
from gateway.queueing.priority import priority_of
from gateway.queueing.resumption import check_place, log_bounds, starting_after, wants_numbers, wants_stream
from gateway.queueing.tenant import key_digest, tenant_of
from gateway.queueing.waiting_room import WaitingRoom
from gateway.routes.answers import relay, streamed_answer, whole_answer
from gateway.schemas.chat import ChatCompletionRequest
from jan.errors import GoneError, InvalidArgumentError
from jan.ids import CompletionId
from jan.inference.v1 import jobs_pb2

routes = web.RouteTableDef()


@routes.post("/v1/chat/completions")
async def create_chat_completion(request: web.Request) -> web.StreamResponse:
    """Answer a conversation; a client that leaves frees its place in the queue or the engine.

    A stream that is asked for with `store` or with numbered events can be taken up again, so it goes on without its
    reader until its end.
    """
    body = await read_body(request, ChatCompletionRequest)
    model = await find_usable(request, body.model)
    body.check_supported(remote=model.engine == REMOTE_ENGINE)
    priority = priority_of(request, stream=bool(body.stream), service_tier=body.service_tier)
    job = chat_completion_job(body, model, tenant_of(request, body.person), priority)
    if job.stream and (body.store or wants_numbers(request)):
        return await _resumable_answer(request, job)
    async with request.app[JOBS].attended(job) as events:
        return await (streamed_answer if job.stream else whole_answer)(request, job.id, events)


@routes.get("/v1/chat/completions/{completion_id}")
async def resume_chat_completion(request: web.Request) -> web.StreamResponse:
    """A streamed chat from event `starting_after` on, for whoever began it; 410 when its events are gone."""
    if not wants_stream(request):
        raise InvalidArgumentError(
            "Completions are not stored; their events are kept for some minutes: ask with stream=true.", param="stream"
        )
    return await resume_chat(request, completion_id_of(request), starting_after(request))


@routes.delete("/v1/chat/completions/{completion_id}")
async def delete_chat_completion(request: web.Request) -> web.Response:
    """End a chat that goes on without its reader, and forget it."""
    id_ = completion_id_of(request)
    await request.app[CHATS].check(id_, key_digest(request))
    await request.app[JOBS].cancel(id_)
    await request.app[CHATS].forget(id_)
    return json_response({"id": id_, "object": "chat.completion.deleted", "deleted": True})


def completion_id_of(request: web.Request) -> CompletionId:
    """The chat that the path names. Raises NotFoundError when it cannot be a chat's id."""
    return path_id(request, "completion_id", CompletionId)


async def resume_chat(
    request: web.Request, id_: CompletionId, after: int, *, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """Relay a chat's events behind number `after`, each once, until its end.

    Raises NotFoundError: no such chat of this person's. GoneError: the events are not kept any longer.
    InvalidArgumentError: no such event.
    """
    await request.app[CHATS].check(id_, key_digest(request))
    gone = GoneError("The events of this chat are not kept any longer; send it again.", code="stream_expired")
    bounds = await log_bounds(request, id_)
    if bounds.last == 0 and not await request.app[JOBS].is_known(id_):
        raise gone
    check_place(bounds, after, gone)
    if after and await request.app[JOBS].is_retold(id_):
        raise gone
    stream = EventStream(request, address=("chat", id_), headers=headers)
    if bounds.ended and after == bounds.last:
        async with stream:
            return stream.response
    async with request.app[JOBS].followed(id_, after=after) as events, stream:
        room = WaitingRoom(request, id_)
        await relay(stream, events, room.batches(events), room)
    return stream.response


async def _resumable_answer(request: web.Request, job: jobs_pb2.Job) -> web.StreamResponse:
    chats: Chats = request.app[CHATS]
    await chats.remember(job.id, key_digest(request))
    async with request.app[JOBS].outlasting(job) as events:
        return await streamed_answer(request, job.id, events, address=("chat", job.id))
