"""Whether a client that sends a refused request again by itself is to do so: the header `x-should-retry`.

The clients of OpenAI and Anthropic send again what was answered with 408, 409, 429 or 5xx, twice and after
`Retry-After`, unless this header forbids it. It is never `true` here: what they do not send again by themselves is
wrong as it stands.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from jan.errors import (
    ConflictError,
    DeadlineExceededError,
    InternalError,
    JanError,
    ResourceExhaustedError,
    StorageFullError,
)
from jan.queue.jobs import POISON
from jan.rpc_errors import OUTCOME_UNKNOWN

SHOULD_RETRY: Final = "x-should-retry"
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
UNSTORED: Final = web.RequestKey("unstored", bool)
"""Set by a handler for a request that makes nothing but its answer, where others of its route do."""

# Their requests make nothing but their answer.
_GENERATIONS: Final = frozenset(
    {"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/messages", "/v1/responses/compact"}
)
# As long as it lasts, these are refused again.
_LASTING: Final = (ConflictError, ResourceExhaustedError, StorageFullError)
# Whether it was done is not known.
_UNKNOWN: Final = (DeadlineExceededError, InternalError)
# Nobody wants it, or it has ended several workers already.
_UNWANTED: Final = frozenset({"cancelled", POISON})
# Told to wait longer, OpenAI's client for Node and its 1.x for Python come at once.
_LONGEST_WAIT_SECONDS: Final = 60


def must_not_retry(request: web.Request, error: JanError) -> bool:
    """Whether the same request would be refused again, or could be done twice."""
    if error.code in _UNWANTED or error.retry_after_seconds > _LONGEST_WAIT_SECONDS:
        return True
    if isinstance(error, _LASTING) or error.code == "timeout":
        return not error.retry_after_seconds
    is_unknown = isinstance(error, _UNKNOWN) or error.code == OUTCOME_UNKNOWN
    return is_unknown and not _is_harmless_twice(request)


def _is_harmless_twice(request: web.Request) -> bool:
    return request.method in ("GET", "HEAD") or IDEMPOTENCY_KEY in request.headers or is_generation(request)


def is_generation(request: web.Request) -> bool:
    """Whether the request makes nothing but its answer: it ends with its client, and is done twice without harm."""
    resource = request.match_info.route.resource
    return UNSTORED in request or (resource is not None and resource.canonical in _GENERATIONS)
