"""The one table from a kind of error to HTTP, and OpenAI's error body."""

from __future__ import annotations

import orjson
from aiohttp import web

from gateway.http import not_built
from gateway.http.rate_limits import rate_limit_headers
from jan import errors
from jan.errors import JanError
from jan.queue.bounds import Room

_INVALID_REQUEST = "invalid_request_error"
_SERVER = "server_error"

# Kind of error -> HTTP status, OpenAI's `type`, and the `code` when the error names none.
_HTTP: dict[type[JanError], tuple[int, str, str | None]] = {
    errors.InvalidArgumentError: (400, _INVALID_REQUEST, None),
    errors.FailedPreconditionError: (400, _INVALID_REQUEST, None),
    errors.UnauthenticatedError: (401, _INVALID_REQUEST, "invalid_api_key"),
    errors.PermissionDeniedError: (403, "permission_error", None),
    errors.NotFoundError: (404, _INVALID_REQUEST, None),
    errors.ConflictError: (409, _INVALID_REQUEST, None),
    errors.GoneError: (410, _INVALID_REQUEST, None),
    errors.PreconditionFailedError: (412, _INVALID_REQUEST, "precondition_failed"),
    errors.TooLargeError: (413, _INVALID_REQUEST, "request_too_large"),
    errors.UnsupportedMediaTypeError: (415, _INVALID_REQUEST, "unsupported_media_type"),
    errors.UnprocessableError: (422, _INVALID_REQUEST, None),
    errors.ResourceExhaustedError: (429, "rate_limit_error", "rate_limit_exceeded"),
    errors.InternalError: (500, _SERVER, None),
    errors.UnavailableError: (503, _SERVER, None),
    errors.DeadlineExceededError: (504, _SERVER, None),
    errors.StorageFullError: (507, _SERVER, "storage_full"),
}


def error_body(message: str, error_type: str, *, code: str | None = None, param: str | None = None) -> bytes:
    """OpenAI's error object as JSON; all four keys are always there."""
    return orjson.dumps({"error": {"message": message, "type": error_type, "param": param, "code": code}})


def jan_error_body(error: JanError) -> bytes:
    """The error object for a `JanError`, as an answer's body or as a `data:` line in mid-stream."""
    _, error_type, default_code = _HTTP[type(error)]
    return error_body(error.message, error_type, code=error.code or default_code, param=error.param or None)


def status_of(error: JanError) -> int:
    """The HTTP status for a `JanError`."""
    return _HTTP[type(error)][0]


def error_response(error: JanError) -> web.Response:
    """The whole HTTP answer for a `JanError`."""
    response = web.Response(status=status_of(error), body=jan_error_body(error), content_type="application/json")
    if error.retry_after_seconds:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
        response.headers["retry-after-ms"] = str(error.retry_after_seconds * 1000)
    response.headers.update(rate_limit_headers(room_of(error)))
    return response


def room_of(error: JanError) -> Room | None:
    """What is left to send for whom an error refused; None when it says nothing of that."""
    if not isinstance(error, errors.ResourceExhaustedError) or error.limit is None:
        return None
    return Room(error.limit, 0, error.reset_seconds)


def framework_error_response(error: web.HTTPException, request: web.Request) -> web.Response:
    """The answer for what aiohttp itself refuses: unknown routes, other methods, bodies that are too large."""
    message, code = _framework_message(error, request)
    body = error_body(message, _INVALID_REQUEST, code=code)
    response = web.Response(status=error.status, body=body, content_type="application/json")
    if isinstance(error, web.HTTPMethodNotAllowed):
        response.headers["Allow"] = error.headers["Allow"]
    return response


def _framework_message(error: web.HTTPException, request: web.Request) -> tuple[str, str | None]:
    match error:
        case web.HTTPNotFound() if (why := not_built.why_not_built(request.path)) is not None:
            return why, not_built.CODE
        case web.HTTPNotFound():
            return f"Unknown request URL: {request.method} {request.path[:200]}.", "unknown_url"
        case web.HTTPMethodNotAllowed():
            return f"Not allowed to {request.method} on {request.path[:200]}.", "method_not_allowed"
        case web.HTTPRequestEntityTooLarge():
            return "The request body is too large.", "request_too_large"
        case _:
            return error.reason, None
