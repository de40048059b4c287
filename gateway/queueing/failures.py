"""How a job ended that gave no whole answer."""

from __future__ import annotations

from jan.errors import JanError, UnavailableError
from jan.inference.v1 import jobs_pb2


def failure_of(event: jobs_pb2.JobEvent) -> JanError | None:
    """The error that an event reports, or None."""
    match event.WhichOneof("event"):
        case "failed":
            return JanError.from_detail(event.failed.error)
        case "cancelled":
            return UnavailableError("The request was cancelled before it was answered.", code="cancelled")
        case _:
            return None
