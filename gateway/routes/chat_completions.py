"""/v1/chat/completions: answer a chat, whole or streamed; take a stream up again, or end it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import orjson
from aiohttp import web

from gateway.completions.chat import chat_completion_job
from gateway.completions.files import with_files_read
from gateway.completions.resumable import Chats
from gateway.completions.stored import from_proto, kept_request, owner_of, to_proto
from gateway.http.body import json_response, read_body
from gateway.http.path_ids import path_id
from gateway.http.sse import EventStream
from gateway.keys import CHATS, COMPLETIONS, IMAGES, JOBS, KEEPER, STORAGE
from gateway.models.coming import find_usable
from gateway.models.lookup import REMOTE_ENGINE
from gateway.queueing.priority import priority_of
from gateway.queueing.resumption import check_place, log_bounds, starting_after, wants_numbers, wants_stream
from gateway.queueing.tenant import key_digest, tenant_of
from gateway.queueing.waiting_room import WaitingRoom
from gateway.routes.answers import relay, streamed_answer, whole_answer
from gateway.schemas.chat import ChatCompletionRequest
from jan.errors import GoneError, NotFoundError
from jan.ids import CompletionId
from jan.inference.v1 import jobs_pb2
from jan.storage.v1 import completions_pb2

routes = web.RouteTableDef()


@routes.post("/v1/chat/completions")
async def create_chat_completion(request: web.Request) -> web.StreamResponse:
    """Answer a conversation; a client that leaves frees its place in the queue or the engine.

    A stream that is asked for with `store` or with numbered events can be taken up again, so it goes on without its
    reader until its end.
    """
    body = await read_body(request, ChatCompletionRequest)
    model = await find_usable(request, body.model)
    body.check_supported(remote=model.engine == REMOTE_ENGINE, sees=model.sees)
    body = await with_files_read(request.app[STORAGE], body)
    priority = priority_of(request, stream=bool(body.stream), service_tier=body.service_tier)
    job = await chat_completion_job(request.app[IMAGES], body, model, tenant_of(request, body.person), priority)
    kept = kept_request(body, job.id, owner_of(key_digest(request))) if body.store else None
    if job.stream and (body.store or wants_numbers(request)):
        return await _resumable_answer(request, job, kept)
    async with request.app[JOBS].attended(job) as events:
        if job.stream:
            return await streamed_answer(request, job.id, events)
        response = await whole_answer(request, job.id, events)
        if kept is not None:
            await request.app[COMPLETIONS].create(to_proto(kept, orjson.loads(cast(bytes, response.body))))
        return response


@routes.get("/v1/chat/completions/{completion_id}")
async def get_chat_completion(request: web.Request) -> web.StreamResponse:
    """A stored chat; with `stream=true` a streamed one from event `starting_after` on, 410 when its events are gone.

    Either is for whoever began it.
    """
    id_ = completion_id_of(request)
    if wants_stream(request):
        return await resume_chat(request, id_, starting_after(request))
    return json_response(from_proto(await stored_chat(request, id_)))


@routes.delete("/v1/chat/completions/{completion_id}")
async def delete_chat_completion(request: web.Request) -> web.Response:
    """Remove a stored chat, and end one that goes on without its reader. 404 the second time."""
    id_ = completion_id_of(request)
    was_remembered = await _end(request, id_)
    try:
        await request.app[COMPLETIONS].delete(id_, owner_of(key_digest(request)))
    except NotFoundError:
        if not was_remembered:
            raise
    return json_response({"id": id_, "object": "chat.completion.deleted", "deleted": True})


async def _end(request: web.Request, id_: CompletionId) -> bool:
    """End a chat that can be taken up, and forget it; False when there is none of this person's."""
    try:
        await request.app[CHATS].check(id_, key_digest(request))
    except NotFoundError:
        return False
    await request.app[JOBS].cancel(id_)
    await request.app[CHATS].forget(id_)
    return True


async def stored_chat(request: web.Request, id_: CompletionId) -> completions_pb2.Completion:
    """A stored chat of this person's; one whose answer is whole, and whose gateway died with it, is stored now.

    Raises NotFoundError: there is none, or it goes on still.
    """
    owner = owner_of(key_digest(request))
    try:
        return await request.app[COMPLETIONS].get(id_, owner)
    except NotFoundError:
        if not (await log_bounds(request, id_)).ended:
            raise
        settled = await request.app[KEEPER].take_up(id_)
        if settled is None:
            raise
    await settled()
    return await request.app[COMPLETIONS].get(id_, owner)


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
    bounds = await log_bounds(request, id_, after)
    if bounds.last == 0 and not await request.app[JOBS].is_known(id_):
        raise gone
    check_place(bounds, after, gone)
    if after and await request.app[JOBS].is_retold(id_):
        raise gone
    settled = await request.app[KEEPER].take_up(id_)
    stream = EventStream(request, address=("chat", id_), headers=headers)
    if bounds.ended and after == bounds.last:
        async with stream:
            return stream.response
    async with request.app[JOBS].followed(id_, after=after, generation=bounds.generation) as events, stream:
        events.before_end = settled
        room = WaitingRoom(request, id_)
        await relay(stream, events, room.batches(events), room)
    return stream.response


async def _resumable_answer(request: web.Request, job: jobs_pb2.Job, kept: bytes | None) -> web.StreamResponse:
    chats: Chats = request.app[CHATS]
    await chats.remember(job.id, key_digest(request))
    async with request.app[JOBS].outlasting(job) as events:
        if kept is not None:
            await chats.keep(job.id, kept)
            events.before_end = request.app[KEEPER].follow(job.id, kept)
        return await streamed_answer(request, job.id, events, address=("chat", job.id))
