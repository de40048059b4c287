"""POST /v1/embeddings."""

from __future__ import annotations

from aiohttp import web

from gateway.completions.embeddings import embeddings_job
from gateway.http.body import read_body
from gateway.keys import JOBS
from gateway.models.coming import find_usable
from gateway.queueing.priority import priority_of
from gateway.queueing.tenant import tenant_of
from gateway.routes.answers import whole_answer
from gateway.schemas.embeddings import EmbeddingsRequest

routes = web.RouteTableDef()


@routes.post("/v1/embeddings")
async def create_embeddings(request: web.Request) -> web.Response:
    """Texts or tokens as vectors, in the order of the inputs; a client that leaves frees its place."""
    asked = await read_body(request, EmbeddingsRequest)
    model = await find_usable(request, asked.model)
    job = embeddings_job(asked, model, tenant_of(request, asked.user), priority_of(request, stream=False))
    async with request.app[JOBS].attended(job) as events:
        return await whole_answer(request, job.id, events)
