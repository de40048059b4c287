"""Making the job that answers a request."""

from __future__ import annotations

import time
from typing import Any

import orjson

from gateway.images.places import most_image_tokens
from gateway.models.lookup import model_spec
from gateway.queueing.priority import Priority
from jan.inference.v1 import jobs_pb2
from jan.storage.v1 import models_pb2
from jan.telemetry import request_id_var

# English text has about four bytes a token; good enough to tell long prompts from short ones.
_BYTES_PER_TOKEN = 4
_MAX_COST = 2**31
REQUEST_SECONDS = 600


def new_job(
    job_id: str,
    endpoint: jobs_pb2.Endpoint.ValueType,
    model: models_pb2.Model,
    body: dict[str, Any],
    *,
    tenant: str,
    response_id: str = "",
    stream: bool = False,
    answer_tokens: int = 0,
    priority: Priority = jobs_pb2.PRIORITY_INTERACTIVE,
    timeout_seconds: int = REQUEST_SECONDS,
    spec: jobs_pb2.ModelSpec | None = None,
    answer_must_fit: bool = False,
    service_tier: str = "",
) -> jobs_pb2.Job:
    """A job that sends `body` to an endpoint of the model's engine; `answer_tokens` is what fairness counts for it.

    spec: the model in another configuration than its own. answer_must_fit: refuse a prompt that does not fit the
    model's context together with `max_tokens`, as OpenAI does where the request itself names that. service_tier: what
    the answer repeats of it; empty for nothing.
    """
    encoded = orjson.dumps(body)
    prompt_tokens = min(_MAX_COST, _prompt_tokens(body, len(encoded)))
    job = jobs_pb2.Job(
        id=job_id,
        request_id=request_id_var.get(),
        tenant=tenant,
        priority=priority,
        model=spec or model_spec(model),
        endpoint=endpoint,
        body=encoded,
        stream=stream,
        cost_tokens=min(_MAX_COST, prompt_tokens + answer_tokens),
        response_id=response_id,
        response_created=int(time.time()),
        answer_must_fit=answer_must_fit,
        service_tier=service_tier,
        prompt_tokens=prompt_tokens,
    )
    job.timeout.FromSeconds(timeout_seconds)
    return job


def _prompt_tokens(body: dict[str, Any], size_bytes: int) -> int:
    """About how many tokens a prompt has: an image as many as most models take for one, whatever its file's size."""
    image_tokens, image_bytes = most_image_tokens(body.get("messages", ()))
    return (size_bytes - image_bytes) // _BYTES_PER_TOKEN + image_tokens
