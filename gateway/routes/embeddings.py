"""POST /v1/embeddings."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.http.body import read_body
from gateway.keys import JOBS
from gateway.models.coming import find_usable
from gateway.queueing.job import new_job
from gateway.queueing.priority import priority_of
from gateway.queueing.tenant import tenant_of
from gateway.routes.answers import whole_answer
from gateway.schemas.embeddings import EmbeddingsRequest
from jan.ids import JobId
from jan.inference.v1 import jobs_pb2

routes = web.RouteTableDef()


@routes.post("/v1/embeddings")
async def create_embeddings(request: web.Request) -> web.Response:
    """Texts or tokens as vectors, in the order of the inputs; a client that leaves frees its place."""
    asked = await read_body(request, EmbeddingsRequest)
    model = await find_usable(request, asked.model)
    body: dict[str, Any] = asked.model_dump(include={"input", "encoding_format", "dimensions"}, exclude_none=True)
    tenant = tenant_of(request, asked.user)
    priority = priority_of(request, stream=False)
    job = new_job(JobId.new(), jobs_pb2.ENDPOINT_EMBEDDINGS, model, body, tenant=tenant, priority=priority)
    async with request.app[JOBS].attended(job) as events:
        return await whole_answer(request, job.id, events)
