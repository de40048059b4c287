"""Batches between storage's records and OpenAI's objects."""

from __future__ import annotations

from typing import Any

from gateway.convert.json_fields import from_text, string_map
from jan.storage.v1 import batches_pb2
from jan.type.v1.usage_pb2 import Usage

COMPLETION_WINDOW = "24h"

_PREFIX = "BATCH_STATUS_"
# The statuses of which OpenAI tells when a batch came to them, as `<status>_at`.
_TIMES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")


def status_name(status: batches_pb2.BatchStatus.ValueType) -> str:
    """OpenAI's word for a status."""
    return batches_pb2.BatchStatus.Name(status).removeprefix(_PREFIX).lower()


def batch_from_proto(batch: batches_pb2.Batch) -> dict[str, Any]:
    """OpenAI's `batch`."""
    came = {status_name(step.status): step.at.seconds for step in batch.steps}
    errors = from_text(batch.errors_json)
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model or None,
        "errors": None if errors is None else {"object": "list", "data": errors},
        "input_file_id": batch.input_file_id,
        "completion_window": COMPLETION_WINDOW,
        "status": status_name(batch.status),
        "output_file_id": batch.output_file_id or None,
        "error_file_id": batch.error_file_id or None,
        "created_at": batch.created_at.seconds,
        "expires_at": batch.created_at.seconds + batch.lifetime_seconds,
        **{f"{name}_at": came.get(name) for name in _TIMES},
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "usage": _usage(batch.usage),
        "metadata": string_map(batch.metadata_json) or None,
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.completion_tokens_details.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
