"""The OpenAPI document of the gateway, made from its routes: `document(app)`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from gateway.http.guard import OPEN_ROUTES
from gateway.openapi import errors
from gateway.openapi.answers import EVENTS, JSON, Answer, answer_of
from gateway.openapi.bodies import body_of, models_of, schemas_of
from gateway.openapi.components import PREFIX, OpenAI, own_schemas, page_name
from gateway.openapi.links import add_links
from gateway.openapi.parameters import parameters_of
from gateway.openapi.reading import Reading, Route, routes_of

# As pyproject.toml has it; the services run from their folders, installed or not.
VERSION: Final = "0.1.0"
_ABOUT: Final = (
    "Janroot: OpenAI's API, Jan's routes and its own. Request bodies: null means absent, fields that nobody knows are"
    " ignored. Answers may have more fields than are told here. A stream's schema is that of one event; an answer that"
    " fails on the way ends with an event that holds an error. A GET may be asked as HEAD."
)
_ALIAS: Final = "x-alias-of"


def document(app: web.Application) -> dict[str, Any]:
    """The whole document. It takes a second or two, so it is not for the event loop."""
    openai = OpenAI.read()
    operations = [
        _Operation(route, Reading(route.handler), answer_of(route.anonymous, openai.answers) or Answer())
        for route in routes_of(app)
    ]
    lists = sorted({one.answer.lists for one in operations if one.answer.lists is not None})
    models = {model for one in operations for model in models_of(one.route, one.reading)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Janroot", "version": VERSION, "description": _ABOUT},
        "security": [{"key": []}, {"x-api-key": []}],
        "tags": [{"name": name, "description": text} for name, text in _tags(operations).items()],
        "paths": _paths(operations),
        "components": {
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "responses": errors.components(),
            "schemas": {**openai.schemas, **own_schemas(lists), **schemas_of(models)},
        },
    }


@dataclass(frozen=True, slots=True)
class _Operation:
    """One route, what it reads and what it answers."""

    route: Route
    reading: Reading
    answer: Answer

    @property
    def tag(self) -> str:
        """The module that it is written in."""
        return self.route.handler.__module__.rpartition(".")[2]

    @property
    def id(self) -> str:
        """The name of the first of its spellings."""
        return f"{self.tag}_{self.route.handler.__name__}"

    def told(self) -> dict[str, Any]:
        """The operation object."""
        summary, _, more = (self.route.handler.__doc__ or "").partition("\n")
        operation: dict[str, Any] = {
            "operationId": self.id,
            "tags": [self.tag],
            "summary": summary.strip(),
            "parameters": parameters_of(self.route, self.reading),
            "responses": {
                **_successes(self.answer),
                **errors.responses(self.route, are_anthropics_too=self.answer.or_json is not None),
            },
        }
        if more.strip():
            operation["description"] = " ".join(more.split())
        body = body_of(self.route, self.reading)
        if body is not None:
            operation["requestBody"] = body
        if self.route.path in OPEN_ROUTES:
            operation["security"] = []
        return operation


def _paths(operations: Iterable[_Operation]) -> dict[str, dict[str, Any]]:
    """The operations by path and method. Each spelling is one of its own that says which one it is another of."""
    paths: dict[str, dict[str, Any]] = {}
    methods: dict[str, str] = {}
    for one in operations:
        told, method = one.told(), one.route.method.lower()
        first = methods.setdefault(one.id, method)
        if one.id in {operation["operationId"] for path in paths.values() for operation in path.values()}:
            told[_ALIAS] = one.id
            told["operationId"] += f"_{method}" if method != first else "_" + one.route.path.split("/")[2]
        paths.setdefault(one.route.path, {})[method] = told
    add_links(paths, _ALIAS)
    return paths


def _tags(operations: Iterable[_Operation]) -> dict[str, str]:
    """What each module is for, by the first line of its docstring."""
    names = {one.tag: one.route.handler.__module__ for one in operations}
    return {tag: (sys.modules[name].__doc__ or "").strip().partition("\n")[0] for tag, name in names.items()}


def _successes(answer: Answer) -> dict[str, Any]:
    content: dict[str, Any] = {media_type: {} for media_type in answer.files}
    if answer.json or answer.lists:
        told = {"$ref": PREFIX + (answer.json or page_name(answer.lists or ""))}
        other = {"$ref": PREFIX + answer.or_json} if answer.or_json else None
        content[JSON] = {"schema": told if other is None else {"anyOf": [told, other]}}
    if answer.events:
        content[EVENTS] = {"schema": _event([*answer.events, "Janroot.Error"])}
    return {str(status): _success(status, content) for status in answer.statuses}


def _success(status: int, content: Mapping[str, Any]) -> dict[str, Any]:
    description = {202: "It was begun.", 206: "The range that was asked for.", 302: "Elsewhere.", 304: "Known already."}
    told: dict[str, Any] = {"description": description.get(status, "As asked.")}
    return told | ({"content": dict(content)} if content and status not in (302, 304) else {})


def _event(names: Iterable[str]) -> dict[str, Any]:
    """One event of a stream, as OpenAPI 3.2 writes it: its fields, with JSON of one of these schemas for data."""
    told = {"anyOf": [{"$ref": PREFIX + name} for name in names]}
    data = {"type": "string", "contentMediaType": JSON, "contentSchema": told}
    text = {"type": "string"}
    properties = {"event": text, "id": text, "data": {"anyOf": [{"const": "[DONE]", "type": "string"}, data]}}
    return {"type": "object", "properties": properties, "required": ["data"]}
