"""Errors on Anthropic's routes, in Anthropic's form: the one table from a status to its word."""

from __future__ import annotations

import orjson
from aiohttp import web

from gateway.anthropic.routes import is_anthropics
from gateway.http.errors import room_of, status_of
from gateway.http.rate_limits import RATE_LIMIT_HEADERS, anthropic_rate_limit_headers
from gateway.keys import REQUEST_ID
from jan.errors import JanError

_OVERLOADED = 529
# Our status -> Anthropic's, where it has one of its own.
_STATUSES = {503: _OVERLOADED}
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    _OVERLOADED: "overloaded_error",
}


def in_anthropics_form(request: web.Request, response: web.Response, error: JanError | None = None) -> web.Response:
    """An answer in OpenAI's form that says what failed, in Anthropic's if the request is Anthropic's.

    error: what it tells of, for the headers that Anthropic calls otherwise. The others are kept.
    """
    if not is_anthropics(request):
        return response
    assert isinstance(response.body, bytes)
    told = orjson.loads(response.body)["error"]
    response.set_status(_STATUSES.get(response.status, response.status))
    response.body = _body(request, response.status, told["message"], told["param"])
    if error is not None and (room := room_of(error)) is not None:
        for name in RATE_LIMIT_HEADERS:
            response.headers.pop(name, None)
        response.headers.update(anthropic_rate_limit_headers(room))
    return response


def error_data(request: web.Request, error: JanError) -> bytes:
    """The data of an `error` event in mid-stream."""
    status = status_of(error)
    return _body(request, _STATUSES.get(status, status), error.message, error.param)


def _body(request: web.Request, status: int, message: str, param: str | None) -> bytes:
    """Anthropic's error object. It has no place for the field at fault, so the message names it."""
    if param and param not in message:
        message = f"{param}: {message}"
    type_ = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    error = {"type": type_, "message": message}
    return orjson.dumps({"type": "error", "error": error, "request_id": request.get(REQUEST_ID)})
