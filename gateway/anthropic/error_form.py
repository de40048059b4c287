"""Anthropic's form of an error: the one table from a status to its word. Pure."""

from __future__ import annotations

import re

from gateway.http.errors import status_of
from gateway.schemas.anthropic_messages import NO_THREADS
from gateway.schemas.common import JsonObject
from jan.errors import JanError

_OVERLOADED = 529
_PLACE = re.compile(r"\[(\d+)\]")
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
_DETAILS: dict[str | None, JsonObject] = {NO_THREADS: {"unsupported": ["thread"]}}


def error_object(error: JanError, request_id: str | None) -> JsonObject:
    """Anthropic's object for an error."""
    status = status_of(error)
    return told_object(request_id, anthropics_status(status), error.message, error.param, error.code)


def told_object(request_id: str | None, status: int, message: str, param: str | None, code: str | None) -> JsonObject:
    """Anthropic's error object. It has no place for the field at fault, so the message names it, as Anthropic's do.

    Of codes it has those that its clients act upon.
    """
    if param:
        named = _named_here(param)
        message = message.replace(param, named)
        message = message if named in message else f"{named}: {message}"
    type_ = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    error: JsonObject = {"type": type_, "message": message}
    if code in _DETAILS:
        error["details"] = {"error_code": code, **_DETAILS[code]}
    return {"type": "error", "error": error, "request_id": request_id}


def _named_here(param: str) -> str:
    """A field in Anthropic's spelling: `tools.1.input_schema`. Engines call those of the chat by OpenAI's names."""
    if param == "response_format":
        return "output_config.format.schema"
    return _PLACE.sub(r".\1", param.replace("].function.parameters", "].input_schema"))


def anthropics_status(status: int) -> int:
    """Anthropic's status for one of ours."""
    return _STATUSES.get(status, status)
