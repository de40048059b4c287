"""How a job ended that gave no whole answer."""

from __future__ import annotations

from jan.errors import JanError, UnavailableError
from jan.inference.v1 import jobs_pb2
from jan.type.v1.usage_pb2 import Usage


def failure_of(event: jobs_pb2.JobEvent) -> JanError | None:
    """The error that an event reports, or None."""
    match event.WhichOneof("event"):
        case "failed":
            return JanError.from_detail(event.failed.error)
        case "cancelled":
            return UnavailableError("The request was cancelled before it was answered.", code="cancelled")
        case _:
            return None


def used_of(event: jobs_pb2.JobEvent) -> Usage | None:
    """What was used by a job that an event says failed or was cancelled; None when nobody knows."""
    end = event.failed if event.HasField("failed") else event.cancelled
    return end.usage if end.HasField("usage") else None
