"""From a request for embeddings to the job that answers it."""

from __future__ import annotations

from typing import Any

from gateway.queueing.job import new_job
from gateway.queueing.priority import Priority
from gateway.schemas.embeddings import EmbeddingsRequest
from jan.ids import JobId
from jan.inference.v1 import jobs_pb2
from jan.storage.v1 import models_pb2


def embeddings_job(
    request: EmbeddingsRequest, model: models_pb2.Model, tenant: str, priority: Priority
) -> jobs_pb2.Job:
    """The job for POST /v1/embeddings."""
    body: dict[str, Any] = request.model_dump(include={"input", "encoding_format", "dimensions"}, exclude_none=True)
    return new_job(JobId.new(), jobs_pb2.ENDPOINT_EMBEDDINGS, model, body, tenant=tenant, priority=priority)
