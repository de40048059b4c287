"""POST /v1/completions, OpenAI's legacy way to go on with a text, whole and streamed."""

from __future__ import annotations

from aiohttp import web

from gateway.completions.legacy import completion_job
from gateway.http.body import read_body
from gateway.keys import JOBS
from gateway.models.coming import find_usable
from gateway.queueing.priority import priority_of
from gateway.queueing.tenant import tenant_of
from gateway.routes.answers import streamed_answer, whole_answer
from gateway.schemas.completions import CompletionRequest

routes = web.RouteTableDef()


@routes.post("/v1/completions")
async def create_completion(request: web.Request) -> web.StreamResponse:
    """Go on with one or several prompts; a client that leaves frees its place in the queue or the engine."""
    body = await read_body(request, CompletionRequest)
    body.check_supported()
    model = await find_usable(request, body.model)
    priority = priority_of(request, stream=bool(body.stream))
    job = completion_job(body, model, tenant_of(request, body.user), priority)
    async with request.app[JOBS].attended(job) as events:
        return await (streamed_answer if job.stream else whole_answer)(request, job.id, events)
