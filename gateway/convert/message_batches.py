"""Batches of messages between storage's records and Anthropic's objects."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from jan.storage.v1 import batches_pb2

CANCELLING = batches_pb2.BATCH_STATUS_CANCELLING
CANCELLED = batches_pb2.BATCH_STATUS_CANCELLED
EXPIRED = batches_pb2.BATCH_STATUS_EXPIRED
ENDED = frozenset({CANCELLED, EXPIRED, batches_pb2.BATCH_STATUS_COMPLETED, batches_pb2.BATCH_STATUS_FAILED})


def results_path(batch: batches_pb2.Batch) -> str | None:
    """Where the results of a batch are; None while there are none."""
    return f"/v1/messages/batches/{batch.id}/results" if batch.output_file_id else None


def message_batch_from_proto(batch: batches_pb2.Batch, results_url: str | None) -> dict[str, Any]:
    """Anthropic's `message_batch`. results_url: where its results are, for who asks."""
    has_ended = batch.status in ENDED
    came = {step.status: step.at for step in batch.steps}
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": "ended" if has_ended else "canceling" if batch.status == CANCELLING else "in_progress",
        "request_counts": _counts(batch) if has_ended else _none_but(processing=batch.total),
        "created_at": _told(batch.created_at),
        "expires_at": _told(batch.created_at, batch.lifetime_seconds),
        "cancel_initiated_at": _told(came[CANCELLING]) if CANCELLING in came else None,
        "ended_at": _told(came[batch.status]) if has_ended and batch.status in came else None,
        "archived_at": None,
        "results_url": results_url,
    }


def _counts(batch: batches_pb2.Batch) -> dict[str, int]:
    """What became of the requests. Those of an input that went away are errors."""
    return _none_but(
        succeeded=batch.completed,
        canceled=batch.skipped if batch.status == CANCELLED else 0,
        expired=batch.skipped if batch.status == EXPIRED else 0,
        errored=max(0, batch.total - batch.completed - batch.skipped),
    )


def _none_but(**counts: int) -> dict[str, int]:
    return {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0} | counts


def _told(time: Timestamp, later_seconds: int = 0) -> str:
    whole = datetime.fromtimestamp(time.seconds + later_seconds, UTC)
    return whole.strftime(f"%Y-%m-%dT%H:%M:%S.{time.nanos // 1_000_000:03}Z")
