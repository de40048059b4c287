"""POST /v1/messages and /v1/messages/count_tokens: Anthropic's Messages API (docs/anthropic.md)."""

from __future__ import annotations

import orjson
from aiohttp import web

from gateway.anthropic.answer import MessageAnswer, Wishes
from gateway.anthropic.answering import Counter, streamed_message, whole_message
from gateway.anthropic.documents import with_documents_read
from gateway.anthropic.request import counted_chat, message_job, watches_stops, without_prefill
from gateway.http.body import json_response, read_body
from gateway.keys import IMAGES, INFERENCE, JOBS, STORAGE
from gateway.models.coming import find_usable
from gateway.models.lookup import model_spec
from gateway.queueing.priority import priority_of
from gateway.queueing.tenant import tenant_of
from gateway.schemas.anthropic_messages import CountTokensRequest, MessagesRequest
from jan.inference.v1 import control_pb2
from jan.storage.v1 import models_pb2

routes = web.RouteTableDef()


@routes.post("/v1/messages")
async def create_message(request: web.Request) -> web.StreamResponse:
    """Answer a conversation; a client that leaves frees its place in the queue or the engine."""
    body = await read_body(request, MessagesRequest)
    body.check_supported()
    model = await find_usable(request, body.model)
    priority = priority_of(request, stream=bool(body.stream))
    body = body.model_copy(update={"messages": await with_documents_read(request.app[STORAGE], body.messages)})
    job = await message_job(request.app[IMAGES], body, model, tenant_of(request, body.person), priority)
    answer = MessageAnswer(job.id, _wishes(body, model))
    counter = Counter(request.app[INFERENCE], job)
    async with request.app[JOBS].attended(job) as events:
        tell = streamed_message if body.stream else whole_message
        return await tell(request, events, answer, counter)


@routes.post("/v1/messages/count_tokens")
async def count_tokens(request: web.Request) -> web.Response:
    """How many tokens the model would read, by its own tokenizer and chat template; it is loaded for that."""
    body = await read_body(request, CountTokensRequest)
    body.check_supported()
    model = await find_usable(request, body.model)
    body = body.model_copy(update={"messages": await with_documents_read(request.app[STORAGE], body.messages)})
    body, prefill = without_prefill(body)
    spec, chat = model_spec(model), orjson.dumps(counted_chat(body, model)).decode()
    questions = [control_pb2.TokenizeRequest(model=spec, chat_json=chat)]
    if prefill:
        questions.append(control_pb2.TokenizeRequest(model=spec, text=prefill, add_special=False))
    told = [await request.app[INFERENCE].tokenize(question) for question in questions]
    return json_response({"input_tokens": sum(len(one.tokens) for one in told)})


def _wishes(body: MessagesRequest, model: models_pb2.Model) -> Wishes:
    return Wishes(
        model=model.id,
        max_tokens=body.max_tokens,
        stops=(body.stop_sequences or ()) if watches_stops(model) else (),
        tells_thoughts=body.thinking is None or body.thinking.is_told,
    )
