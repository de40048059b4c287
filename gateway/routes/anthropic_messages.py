"""POST /v1/messages and /v1/messages/count_tokens: Anthropic's Messages API (docs/anthropic.md)."""

from __future__ import annotations

import orjson
from aiohttp import web

from gateway.anthropic.answering import streamed_message, whole_message
from gateway.anthropic.asked import AskedMessage
from gateway.anthropic.request import counted_chat, without_prefill
from gateway.anthropic.routes import check_headers
from gateway.http.body import json_response, read_body
from gateway.keys import DOCUMENTS, IMAGES, INFERENCE, JOBS
from gateway.models.coming import find_usable
from gateway.models.lookup import model_spec
from gateway.queueing.priority import priority_of
from gateway.queueing.tenant import tenant_of
from gateway.schemas.anthropic_messages import CountTokensRequest, MessagesRequest
from jan.inference.v1 import control_pb2

routes = web.RouteTableDef()


@routes.post("/v1/messages")
async def create_message(request: web.Request) -> web.StreamResponse:
    """Answer a conversation; a client that leaves frees its place in the queue or the engine."""
    check_headers(request)
    body = await read_body(request, MessagesRequest)
    body.check_supported()
    model = await find_usable(request, body.model)
    priority = priority_of(request, stream=bool(body.stream))
    asked = await AskedMessage.of(
        request.app[DOCUMENTS],
        request.app[IMAGES],
        request.app[INFERENCE],
        body,
        model,
        tenant=tenant_of(request, body.person),
        priority=priority,
    )
    async with request.app[JOBS].attended(asked.job) as events:
        tell = streamed_message if body.stream else whole_message
        return await tell(request, events, asked)


@routes.post("/v1/messages/count_tokens")
async def count_tokens(request: web.Request) -> web.Response:
    """How many tokens the model would read, by its own tokenizer and chat template; it is loaded for that."""
    check_headers(request)
    body = await read_body(request, CountTokensRequest)
    body.check_supported()
    model = await find_usable(request, body.model)
    body = body.model_copy(update={"messages": await request.app[DOCUMENTS].read(body.messages)})
    body, prefill = without_prefill(body)
    spec, chat = model_spec(model), orjson.dumps(counted_chat(body, model)).decode()
    questions = [control_pb2.TokenizeRequest(model=spec, chat_json=chat)]
    if prefill:
        questions.append(control_pb2.TokenizeRequest(model=spec, text=prefill, add_special=False))
    told = [await request.app[INFERENCE].tokenize(question) for question in questions]
    return json_response({"input_tokens": sum(len(one.tokens) for one in told)})
