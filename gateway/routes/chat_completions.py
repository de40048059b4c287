"""POST /v1/chat/completions, whole and streamed."""

from __future__ import annotations

from aiohttp import web

from gateway.body import read_body
from gateway.chat import chat_completion_job
from gateway.keys import JOBS, STORAGE
from gateway.models import find_model
from gateway.routes.answers import streamed_answer, whole_answer
from gateway.schemas.chat import ChatCompletionRequest
from gateway.tenant import tenant_of

routes = web.RouteTableDef()


@routes.post("/v1/chat/completions")
async def create_chat_completion(request: web.Request) -> web.StreamResponse:
    """Answer a conversation; a client that leaves frees its place in the queue or the engine."""
    body = await read_body(request, ChatCompletionRequest)
    body.check_supported()
    model = await find_model(request.app[STORAGE], body.model)
    job = chat_completion_job(body, model, tenant_of(request, body.user))
    async with request.app[JOBS].attended(job) as events:
        return await (streamed_answer(request, events) if job.stream else whole_answer(events))
