"""From a legacy completion request to the job that answers it."""

from __future__ import annotations

from typing import Any

from gateway.completions.parameters import layered, stored_parameters
from gateway.queueing.job import new_job
from gateway.queueing.priority import Priority
from gateway.schemas.completions import CompletionRequest
from jan.ids import TextCompletionId
from jan.inference.v1 import jobs_pb2
from jan.storage.v1 import models_pb2

DEFAULT_MAX_TOKENS = 16  # OpenAI's


def completion_job(
    request: CompletionRequest, model: models_pb2.Model, tenant: str, priority: Priority
) -> jobs_pb2.Job:
    """The job for POST /v1/completions; the request's parameters go over the model's.

    The model's `max_tokens` is meant for chats, so without one in the request it is OpenAI's default.
    """
    stored = stored_parameters(model.parameters_json) | {"max_tokens": DEFAULT_MAX_TOKENS}
    parameters = layered(stored, request.parameters())
    body: dict[str, Any] = {"model": model.id, "prompt": request.prompt, "stream": bool(request.stream), **parameters}
    if request.wants_usage:
        body["stream_options"] = {"include_usage": True}
    completion_id = TextCompletionId.new()
    return new_job(
        completion_id,
        jobs_pb2.ENDPOINT_COMPLETIONS,
        model,
        body,
        tenant=tenant,
        response_id=completion_id,
        stream=bool(request.stream),
        answer_must_fit=request.max_tokens is not None,
        priority=priority,
        answer_tokens=int(body["max_tokens"]) * len(request.prompt) * (request.n or 1),
    )
