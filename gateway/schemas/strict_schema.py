"""OpenAI's rules for a schema that is `strict`: every answer can then be bound to it, whatever engine writes it.

Source: OpenAI's guide to structured outputs, "Supported schemas"; the messages are the live service's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.schemas.common import JsonObject

MAX_PROPERTIES = 5000
MAX_LEVELS = 10
MAX_ENUM_VALUES = 1000

_NOT_PERMITTED = (
    *("allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas"),
    *("patternProperties", "unevaluatedProperties", "propertyNames", "contains", "unevaluatedItems"),
)
_DEFINITIONS = ("$defs", "definitions")

Path = tuple[str, ...]


def check_strict(schema: JsonObject) -> None:
    """Raises ValueError: the first rule that the schema breaks, and where."""
    if schema.get("type") != "object" and "$ref" not in schema:
        kind = str(schema.get("type"))[:40]
        raise ValueError(f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'")
    if "anyOf" in schema:
        raise ValueError("the root of a strict schema must not have 'anyOf'")
    properties = enum_values = 0
    for path, node in _schemas(schema, ()):
        _check_node(path, node)
        properties += len(_object(node.get("properties")))
        enum_values += len(_list(node.get("enum")))
    if properties > MAX_PROPERTIES:
        raise ValueError(f"a strict schema may have at most {MAX_PROPERTIES} properties in all")
    if enum_values > MAX_ENUM_VALUES:
        raise ValueError(f"a strict schema may have at most {MAX_ENUM_VALUES} enum values in all")


def _check_node(path: Path, node: JsonObject) -> None:
    place = f"In context={path!r}, "
    for keyword in _NOT_PERMITTED:
        if keyword in node:
            raise ValueError(f"{place}'{keyword}' is not permitted")
    if _is_object(node):
        if node.get("additionalProperties") is not False:
            raise ValueError(f"{place}'additionalProperties' is required to be supplied and to be false")
        names = _object(node.get("properties"))
        required = _list(node.get("required"))
        missing = next((name for name in names if name not in required), None)
        if missing is not None:
            raise ValueError(
                f"{place}'required' is required to be supplied and to be an array including every key in properties. "
                f"Missing '{missing}'"
            )
    if path.count("properties") > MAX_LEVELS:
        raise ValueError(f"a strict schema may nest at most {MAX_LEVELS} levels of objects")
    if not ({"type", "enum", "const", "anyOf", "$ref"} & node.keys()):
        raise ValueError(f"{place}schema must have a 'type' key")
    if node.get("type") == "array" and "items" not in node:
        raise ValueError(f"{place}array schema missing items")


def _is_object(node: JsonObject) -> bool:
    kind = node.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in node


def _schemas(node: Any, path: Path) -> Iterator[tuple[Path, JsonObject]]:
    """Each schema inside of a schema, itself first, with its place; values that are no schemas are left out."""
    if not isinstance(node, dict):
        return
    yield path, node
    for keyword in ("properties", *_DEFINITIONS):
        for name, child in _object(node.get(keyword)).items():
            yield from _schemas(child, (*path, keyword, name))
    yield from _schemas(node.get("items"), (*path, "items"))
    for keyword in ("anyOf", "prefixItems"):
        for place, child in enumerate(_list(node.get(keyword))):
            yield from _schemas(child, (*path, keyword, str(place)))


def _object(value: Any) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
