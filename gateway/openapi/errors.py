"""Which refusals and failures a route may answer with, and what they mean; the body is always the same."""

from __future__ import annotations

from typing import Any, Final

from gateway.openapi.parameters import path_names
from gateway.openapi.reading import Route

_MEANINGS: Final = {
    400: "The request is not as it must be, or not possible now; `param` names the field.",
    401: "No key, or a wrong one.",
    403: "Not allowed.",
    404: "What is named is not there.",
    409: "It cannot be done beside what is there or under way.",
    410: "It was there, and is gone.",
    412: "What is to be changed is another one meanwhile.",
    413: "The body is too large.",
    415: "Another content type is needed.",
    416: "The file has no byte of that range.",
    422: "The key of a request was used for another one.",
    429: "Too much is waiting; `Retry-After` tells when to come back.",
    500: "A fault of this server.",
    503: "Something that is needed does not answer; `Retry-After` tells when to come back.",
    504: "It took too long.",
    507: "The disk is full.",
    529: "Something that is needed does not answer; `Retry-After` tells when to come back.",
}
_ANTHROPICS: Final = "/v1/messages"
# Clients of Anthropic's are told there that this is not here (`gateway/anthropic/routes.py`).
_REFUSED_TO_ANTHROPICS: Final = "/v1/files"
_EVERYWHERE: Final = (400, 401, 403, 500, 503, 504)
_OF_READING: Final = (410, 416)
_OF_CHANGING: Final = (404, 409, 410, 412, 413, 415, 422, 429, 507)
_READINESS: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/Janroot.Readiness"}}}
_BODY: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/Janroot.Error"}}}
_ANTHROPIC: Final = {"$ref": "#/components/schemas/Janroot.AnthropicError"}
_ANTHROPIC_BODY: Final = {"application/json": {"schema": _ANTHROPIC}}
_EITHER_BODY: Final = {
    "application/json": {"schema": {"anyOf": [{"$ref": "#/components/schemas/Janroot.Error"}, _ANTHROPIC]}}
}


def components() -> dict[str, Any]:
    """The response components, which `responses` refers to."""
    return {f"Error{status}": {"description": text, "content": _BODY} for status, text in _MEANINGS.items()}


def responses(route: Route, *, are_anthropics_too: bool) -> dict[str, Any]:
    """The responses by status. are_anthropics_too: clients of Anthropic's have them in its form."""
    statuses = {*_EVERYWHERE, *(_OF_READING if route.method == "GET" else _OF_CHANGING)}
    if path_names(route.path):
        statuses.add(404)
    if route.path.startswith(_ANTHROPICS):
        statuses = statuses - {503} | {529}
        return {str(one): {"description": _MEANINGS[one], "content": _ANTHROPIC_BODY} for one in sorted(statuses)}
    if are_anthropics_too or route.path.startswith(_REFUSED_TO_ANTHROPICS):
        statuses |= {404, 529}
        return {str(one): {"description": _MEANINGS[one], "content": _EITHER_BODY} for one in sorted(statuses)}
    found: dict[str, Any] = {
        str(status): {"$ref": f"#/components/responses/Error{status}"} for status in sorted(statuses)
    }
    if route.path == "/readyz":
        found["503"] = {"description": "Not yet.", "content": _READINESS}
    return found
