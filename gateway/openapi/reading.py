"""What a handler, with the functions of the gateway that it calls, reads of a request: found in its own source.

The document and the page on compatibility are made from this, so they cannot promise what no code looks at.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import FunctionType
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel

# The gateway's functions that check a body; its schema is their second argument.
_READERS: Final = {"read_body", "validate"}


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path, and who answers it."""

    method: str
    path: str
    handler: FunctionType

    @property
    def name(self) -> str:
        """`GET /v1/threads/{thread_id}`."""
        return f"{self.method} {self.path}"

    @property
    def anonymous(self) -> str:
        """The same whatever the parameters of its path are called."""
        return anonymous(self.name)


def routes_of(app: web.Application) -> Iterator[Route]:
    """Every route in the order of the application, but for the HEAD that aiohttp adds to each GET."""
    for route in app.router.routes():
        if route.resource is not None and isinstance(route.handler, FunctionType) and route.method != "HEAD":
            yield Route(route.method, plain_path(route.resource.canonical), route.handler)


def plain_path(canonical: str) -> str:
    """A route's path as OpenAPI writes it: `{model_id}` for aiohttp's `{model_id:.+}`."""
    return re.sub(r"\{(\w+):[^}]*\}", r"{\1}", canonical)


def anonymous(name: str) -> str:
    """A route's name without the names of its parameters."""
    return re.sub(r"\{[^}]*\}", "{}", name)


class Reading:
    """What one handler reads."""

    def __init__(self, handler: FunctionType) -> None:
        self.models: set[type[BaseModel]] = set()
        self.functions: set[str] = set()
        self.query: set[str] = set()
        self._strings: set[str] = set()
        self._seen: set[Callable[..., Any]] = set()
        self._look_at(handler)

    def reads(self, name: str) -> bool:
        """Whether a parameter of the query is looked for: by its name, or as `name[key]`."""
        name = name.removesuffix("[]")
        return name in self._strings or any(text.startswith(rf"{name}\[") for text in self._strings)

    def _look_at(self, function: FunctionType) -> None:
        self._seen.add(function)
        self.functions.add(function.__name__)
        for node in _nodes(function):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                self._strings.add(node.value)
            elif isinstance(node, ast.Name):
                self._take(function.__globals__.get(node.id))
            elif isinstance(node, ast.Call):
                self._look_at_call(node, function.__globals__)

    def _look_at_call(self, call: ast.Call, names: Mapping[str, Any]) -> None:
        match call:
            case ast.Call(func=ast.Name(id=reader)) if reader in _READERS:
                self._models_of(call, names)
            case ast.Call(func=ast.Name(id="read_flags"), args=[sent, *flags]) if "query" in ast.unparse(sent):
                self.query |= {text for flag in flags if (text := _text(flag, names)) is not None}
            case ast.Call(func=ast.Attribute(attr="get" | "getall", value=value), args=[name, *_]) if ast.unparse(
                value
            ) in ("query", "request.query"):
                text = _text(name, names)
                self.query |= {text} if text is not None else set()

    def _models_of(self, call: ast.Call, names: Mapping[str, Any]) -> None:
        """The schema that a body is checked against."""
        for argument in call.args[1:]:
            model = names.get(argument.id) if isinstance(argument, ast.Name) else None
            if isinstance(model, type) and issubclass(model, BaseModel):
                self.models.add(model)

    def _take(self, value: object) -> None:
        match value:
            case str():
                self._strings.add(value)
            case re.Pattern():
                self._strings.add(value.pattern)
            case FunctionType() if value.__module__.startswith("gateway.") and value not in self._seen:
                self._look_at(value)


@cache
def _nodes(function: FunctionType) -> tuple[ast.AST, ...]:
    """The syntax of a function; many handlers call the same ones."""
    return tuple(ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))))


def _text(node: ast.expr, names: Mapping[str, Any]) -> str | None:
    """The text that an argument is: written there, or a constant of its module."""
    value = node.value if isinstance(node, ast.Constant) else names.get(node.id) if isinstance(node, ast.Name) else None
    return value if isinstance(value, str) else None
