"""The parameters of a route: of its path, of its query, and the headers that change what it does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.openapi.reading import Reading, Route
from gateway.queueing.priority import NAMES

_FLAG: Final = {"type": "string", "enum": ["true", "false"]}
_TEXT: Final = {"type": "string"}


def _number(most: int, usual: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": 1, "maximum": most, "default": usual}


# What a parameter of the query may be, and what it does; the same wherever it is read.
QUERY: Final[Mapping[str, tuple[dict[str, Any], str]]] = {
    "limit": (_number(100, 20), "How many to answer at most."),
    "order": ({"type": "string", "enum": ["asc", "desc"]}, "Oldest or newest first."),
    "after": (_TEXT, "The id behind which the page begins."),
    "before": (_TEXT, "The id in front of which the page ends."),
    "after_id": (_TEXT, "The same, as Anthropic's clients send it."),
    "before_id": (_TEXT, "The same, as Anthropic's clients send it."),
    "lifecycle": (_TEXT, "Anthropic's: `active`, `deprecated` or `retired`; every model here is active."),
    "lifecycle[]": ({"type": "array", "items": _TEXT}, "The same, as its clients send it."),
    "q": ({"type": "string", "maxLength": 1000}, "Words that a message of the thread must hold."),
    "run_id": (_TEXT, "Only messages that this run wrote."),
    "model": (_TEXT, "Only those of this model."),
    "purpose": (_TEXT, "Only files for this."),
    "user": (_TEXT, "The person to speak for, as `user` in a request's body."),
    "id": (_TEXT, "The id that the assistant is to have."),
    "filter": ({"type": "string", "enum": ["in_progress", "completed", "failed", "cancelled"]}, "Only this status."),
    "format": ({"type": "string", "enum": ["zip", "markdown", "json"], "default": "zip"}, "What kind of file."),
    "stream": (_FLAG, "Answer with server-sent events."),
    "starting_after": (_TEXT, "The number of the last event that is known already: a stream is taken up behind it."),
    "dry_run": (_FLAG, "Only say what would be done."),
    "weights": (_FLAG, "With the weights of models."),
    "confirm": ({"type": "string", "enum": ["true"]}, "Says that it is meant: nothing is done without it."),
    "include": (_TEXT, "What to show that is left out otherwise."),
    "include[]": ({"type": "array", "items": _TEXT}, "The same, as OpenAI's clients send it."),
    "include_obfuscation": ({"type": "string", "enum": ["false"]}, "Nothing is obfuscated here."),
    "metadata": (
        {"type": "object", "additionalProperties": _TEXT},
        "Only those with these pairs: `metadata[key]=value`.",
    ),
    "ignoreSSL": ({"type": "string", "enum": ["", "false"]}, "Jan's: for the administrator to decide."),
    "proxy": ({"type": "string", "enum": ["", "false"]}, "Jan's: for the administrator to decide."),
}
# Where the bounds are others.
_LIMITS: Final = {
    "GET /v1/models": _number(1000, 20),
    "GET /v1/messages/batches": _number(1000, 20),
    "GET /v1/files": _number(10_000, 10_000),
    "GET /v1/queue": _number(1000, 100),
    "GET /v1/queue/dead": _number(1000, 100),
    "GET /v1/storage/report": _number(10_000, 1000),
}
# What a route reads in a way that its source does not show.
_HIDDEN: Final[Mapping[str, tuple[str, ...]]] = {
    "GET /v1/models/download/{model_id}": ("ignoreSSL", "proxy"),
    "GET /v1/chat/completions": ("metadata",),
    "POST /v1/threads/import": ("dry_run", "stream"),
}
_OF_FUNCTIONS: Final[Mapping[str, tuple[str, ...]]] = {"read_page": ("limit", "order", "after", "before")}
_HEADERS: Final[Mapping[str, tuple[str, dict[str, Any], str]]] = {
    "asks_for_anthropics_models": (
        "anthropic-version",
        _TEXT,
        "Sent by Anthropic's clients, who are answered in its form.",
    ),
    "read_if_match": ("If-Match", _TEXT, "The entity tag of what is to be changed: 412 when it is another meanwhile."),
    "priority_of": ("X-Janroot-Priority", {"type": "string", "enum": [*NAMES]}, "The class of the queue."),
}
_IDEMPOTENCY_KEY: Final = (
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    "A request sent again with the same key is answered as the first one was.",
)


def parameters_of(route: Route, reading: Reading) -> list[dict[str, Any]]:
    """The parameters of a route; those of its query by name."""
    of_path = [_parameter("path", name, _TEXT, "") for name in path_names(route.path)]
    return [*of_path, *(_of_query(route, name) for name in query_names(route, reading)), *_headers(route, reading)]


def path_names(path: str) -> list[str]:
    """The parameters of a path."""
    return re.findall(r"\{(\w+)\}", path)


def query_names(route: Route, reading: Reading) -> list[str]:
    """The parameters that a route reads of its query."""
    found = {name for function in reading.functions for name in _OF_FUNCTIONS.get(function, ())}
    found |= reading.query
    found |= {*_HIDDEN.get(route.name, ())}
    # A stream that begins with the request is not taken up again: only who reads one may say from where.
    return sorted(found - ({"starting_after"} if route.method == "POST" else set()))


def _of_query(route: Route, name: str) -> dict[str, Any]:
    schema, description = QUERY.get(name, (_TEXT, ""))
    if name == "limit":
        schema = _LIMITS.get(route.name, schema)
    parameter = _parameter("query", name, schema, description)
    if name == "metadata":
        parameter |= {"style": "deepObject", "explode": True}
    return parameter


def _headers(route: Route, reading: Reading) -> Iterator[dict[str, Any]]:
    for function, header in _HEADERS.items():
        if function in reading.functions:
            yield _parameter("header", *header)
    if route.method == "POST":
        yield _parameter("header", *_IDEMPOTENCY_KEY)


def _parameter(place: str, name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    parameter: dict[str, Any] = {"name": name, "in": place, "schema": schema}
    if place == "path":
        parameter["required"] = True
    return parameter | ({"description": description} if description else {})
