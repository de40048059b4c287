"""From a chat request to the job that answers it."""

from __future__ import annotations

from typing import Any

from gateway.completions.parameters import layered, stored_parameters
from gateway.images.shown import Images
from gateway.models.lookup import REMOTE_ENGINE
from gateway.queueing.job import REQUEST_SECONDS, new_job
from gateway.queueing.priority import Priority, tier_told
from gateway.schemas.chat import ChatCompletionRequest
from gateway.schemas.chat_messages import image_names
from jan.ids import CompletionId
from jan.inference.v1 import jobs_pb2
from jan.storage.v1 import models_pb2

# What fairness counts for an answer whose length nobody bounded.
_EXPECTED_ANSWER_TOKENS = 512


async def chat_completion_job(
    images: Images, request: ChatCompletionRequest, model: models_pb2.Model, tenant: str, priority: Priority
) -> jobs_pb2.Job:
    """The job for POST /v1/chat/completions; the request's parameters go over the model's.

    Engines of ours are shown the images that the request names; the server of a remote model is told where they are.
    Raises InvalidArgumentError, PermissionDeniedError: an image cannot be shown.
    """
    messages = request.conversation()
    if model.engine != REMOTE_ENGINE:
        messages = await images.shown(messages, image_names(request.messages))
    body = chat_body(
        model,
        messages,
        layered(stored_parameters(model.parameters_json), request.parameters()),
        stream=bool(request.stream),
        include_usage=request.wants_usage,
    )
    completion_id = CompletionId.new()
    return chat_job(
        completion_id,
        completion_id,
        model,
        body,
        tenant=tenant,
        stream=bool(request.stream),
        answer_must_fit=bool(request.max_completion_tokens or request.max_tokens),
        priority=priority,
        service_tier=tier_told(request.service_tier),
    )


def chat_body(
    model: models_pb2.Model,
    messages: list[dict[str, Any]],
    parameters: dict[str, Any],
    *,
    stream: bool,
    include_usage: bool,
) -> dict[str, Any]:
    """The OpenAI request that the engine is sent."""
    body: dict[str, Any] = {"model": model.id, "messages": messages, "stream": stream, **parameters}
    if include_usage:
        body["stream_options"] = {"include_usage": True}
    return body


def chat_job(
    job_id: str,
    response_id: str,
    model: models_pb2.Model,
    body: dict[str, Any],
    *,
    tenant: str,
    stream: bool,
    priority: Priority = jobs_pb2.PRIORITY_INTERACTIVE,
    timeout_seconds: int = REQUEST_SECONDS,
    spec: jobs_pb2.ModelSpec | None = None,
    answer_must_fit: bool = False,
    service_tier: str = "",
) -> jobs_pb2.Job:
    """A chat job; see `new_job`."""
    return new_job(
        job_id,
        jobs_pb2.ENDPOINT_CHAT_COMPLETIONS,
        model,
        body,
        tenant=tenant,
        response_id=response_id,
        stream=stream,
        answer_tokens=_answer_tokens(body),
        priority=priority,
        timeout_seconds=timeout_seconds,
        spec=spec,
        answer_must_fit=answer_must_fit,
        service_tier=service_tier,
    )


def _answer_tokens(body: dict[str, Any]) -> int:
    return int(body.get("max_tokens", _EXPECTED_ANSWER_TOKENS)) * int(body.get("n", 1))
