"""OpenAI's `response_format`, bounded so that no schema from a stranger can stall an engine (docs/security.md S25)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from gateway.http.refusals import FIELD
from gateway.schemas.common import JsonObject, RequestModel, missing
from gateway.schemas.schema_form import check_form, check_of_objects
from gateway.schemas.strict_schema import check_strict
from jan.json_schema import referred_to

MAX_SCHEMA_BYTES = 64 * 1024
MAX_SCHEMA_DEPTH = 32
MAX_PATTERN_LENGTH = 256
MAX_REFERENCE_CHAIN = 256


class JsonSchemaFormat(RequestModel):
    """A named JSON schema that the answer must satisfy; whoever holds one checks it, and says where it stands."""

    name: Annotated[str, StringConstraints(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    json_schema: JsonObject | None = Field(default=None, alias="schema")
    strict: bool | None = None

    def check(self, field: str = "") -> None:
        """See `check_answer`. field: what of its holder is told to be at fault."""
        if self.json_schema is not None:
            check_answer(f"response_format '{self.name}'", self.json_schema, strict=self.strict, field=field)


class ResponseFormat(RequestModel):
    """How the answer shall be shaped: free text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise missing("json_schema")
        if self.json_schema is not None:
            self.json_schema.check()
        return self


def check_answer(what: str, schema: JsonObject, *, strict: bool | None = None, field: str) -> None:
    """Look at the schema of an answer. what, field: see `as_invalid_schema`. Raises PydanticCustomError."""
    with as_invalid_schema("invalid_json_schema", what, field):
        check_schema(schema)
        check_form(schema)
        if strict:
            check_strict(schema)


def check_parameters(name: str, parameters: JsonObject | None, *, strict: bool | None, field: str) -> None:
    """Look at the schema of a function's arguments, which may be missing. field: what the function calls it.

    Raises PydanticCustomError: no call can be bound to it.
    """
    if parameters is None:
        return
    with as_invalid_schema("invalid_function_parameters", f"function '{name}'", field):
        check_schema(parameters)
        check_of_objects(parameters)
        if strict:
            check_strict(parameters)


@contextmanager
def as_invalid_schema(code: str, what: str, field: str) -> Iterator[None]:
    """Say of a schema what OpenAI says. what: whose it is. field: what of that which is checked is told to be at fault.

    Raises PydanticCustomError.
    """
    try:
        yield
    except ValueError as broken:
        context = {"what": what, "why": str(broken), **({FIELD: field} if field else {})}
        raise PydanticCustomError(code, "Invalid schema for {what}: {why}", context) from None


def check_schema(schema: JsonObject) -> None:
    """Raises ValueError: a schema that an engine should not be given."""
    try:
        size_bytes = len(orjson.dumps(schema))
    except TypeError:
        raise ValueError("a number in a schema has at most 64 bits") from None
    if size_bytes > MAX_SCHEMA_BYTES:
        raise ValueError(f"a schema may hold at most {MAX_SCHEMA_BYTES} bytes")
    _check_bounds(schema, MAX_SCHEMA_DEPTH)
    _check_references(schema)


def _check_bounds(value: Any, depth_left: int) -> None:
    if depth_left == 0:
        raise ValueError(f"a schema may nest at most {MAX_SCHEMA_DEPTH} levels")
    if isinstance(value, dict):
        pattern = value.get("pattern")
        if isinstance(pattern, str) and len(pattern) > MAX_PATTERN_LENGTH:
            raise ValueError(f"a pattern may hold at most {MAX_PATTERN_LENGTH} characters")
        for child in value.values():
            _check_bounds(child, depth_left - 1)
    elif isinstance(value, list):
        for child in value:
            _check_bounds(child, depth_left - 1)


def _check_references(schema: JsonObject) -> None:
    """Raises ValueError: a reference leads back to itself without anything between, so nothing can satisfy it.

    A tree whose children are trees is fine. A loop is an error inside vLLM, whose cause nobody is told.
    """
    sound: set[int] = set()
    for node in _nodes(schema):
        _follow(node, schema, sound, frozenset())


def _follow(node: Any, root: JsonObject, sound: set[int], open_nodes: frozenset[int]) -> None:
    if not isinstance(node, dict) or id(node) in sound:
        return
    if id(node) in open_nodes:
        raise ValueError("a $ref leads back to itself")
    if len(open_nodes) > MAX_REFERENCE_CHAIN:
        raise ValueError(f"a chain of $ref may have at most {MAX_REFERENCE_CHAIN} links")
    nearer = [part for key in ("allOf", "anyOf", "oneOf") for part in _items(node.get(key))]
    nearer.append(referred_to(root, node))
    for part in nearer:
        _follow(part, root, sound, open_nodes | {id(node)})
    sound.add(id(node))


def _nodes(value: Any) -> Iterator[JsonObject]:
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else _items(value):
        yield from _nodes(child)


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
