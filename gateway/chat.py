"""From a chat request to the job that answers it."""

from __future__ import annotations

import time
from typing import Any

import orjson

from gateway.models import model_spec
from gateway.parameters import layered, stored_parameters
from gateway.schemas.chat import ChatCompletionRequest
from jan.ids import CompletionId
from jan.inference.v1 import jobs_pb2
from jan.storage.v1 import models_pb2
from jan.telemetry import request_id_var

# What fairness counts for an answer whose length nobody bounded.
_EXPECTED_ANSWER_TOKENS = 512
# English text has about four bytes a token; good enough to tell long prompts from short ones.
_BYTES_PER_TOKEN = 4
_MAX_COST = 2**31
REQUEST_SECONDS = 600


def chat_completion_job(request: ChatCompletionRequest, model: models_pb2.Model, tenant: str) -> jobs_pb2.Job:
    """The job for POST /v1/chat/completions; the request's parameters go over the model's."""
    body = chat_body(
        model,
        [message.for_engine() for message in request.messages],
        layered(stored_parameters(model.parameters_json), request.parameters()),
        stream=bool(request.stream),
        include_usage=request.wants_usage,
    )
    completion_id = CompletionId.new()
    return chat_job(completion_id, completion_id, model, body, tenant=tenant, stream=bool(request.stream))


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
    timeout_seconds: int = REQUEST_SECONDS,
) -> jobs_pb2.Job:
    """A chat job; somebody waits for it, so it is interactive."""
    encoded = orjson.dumps(body)
    job = jobs_pb2.Job(
        id=job_id,
        request_id=request_id_var.get(),
        tenant=tenant,
        priority=jobs_pb2.PRIORITY_INTERACTIVE,
        model=model_spec(model),
        endpoint=jobs_pb2.ENDPOINT_CHAT_COMPLETIONS,
        body=encoded,
        stream=stream,
        cost_tokens=min(_MAX_COST, len(encoded) // _BYTES_PER_TOKEN + _answer_tokens(body)),
        response_id=response_id,
        response_created=int(time.time()),
    )
    job.timeout.FromSeconds(timeout_seconds)
    return job


def _answer_tokens(body: dict[str, Any]) -> int:
    return int(body.get("max_tokens", _EXPECTED_ANSWER_TOKENS))
