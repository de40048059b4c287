"""Whether something is a JSON schema at all: what is not, no engine can be bound to, and no model understands. Pure.

Source: the meta-schema of JSON Schema 2020-12, and `items` with a list, which earlier drafts have. What only describes
(`title`, `examples`) is not looked at, nor is a keyword that nobody knows; null is read as absent, as clients mean it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gateway.schemas.common import JsonObject

_TYPES: Final = frozenset({"null", "boolean", "object", "array", "number", "string", "integer"})
_MAPS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS: Final = ("anyOf", "allOf", "oneOf", "prefixItems")
_ONES: Final = (
    *("items", "additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties"),
    *("contains", "propertyNames", "not", "if", "then", "else"),
)
_MOST_CHARS: Final = 64

Path = tuple[str, ...]


def check_form(schema: JsonObject) -> None:
    """Raises ValueError: the first keyword that does not hold what it must, and where."""
    _check(schema, ())


def check_of_objects(schema: JsonObject) -> None:
    """The same for the arguments of a function, which are an object. Raises ValueError."""
    kind = schema.get("type")
    if kind is not None and "object" not in (kind if isinstance(kind, list) else [kind]):
        raise ValueError(f"schema must be a JSON Schema of 'type: \"object\"', got 'type: {_told(kind)}'")
    check_form(schema)


def _check(node: Any, path: Path) -> None:
    if isinstance(node, bool):
        return
    if not isinstance(node, dict):
        raise _fault(path, f"a schema is an object or a boolean, and {_told(node)} is neither")
    for keyword, (is_right, what) in _VALUES.items():
        value = node.get(keyword)
        if value is not None and not is_right(value):
            raise _fault(path, f"'{keyword}' must be {what}, got {_told(value)}")
    for keyword in _MAPS:
        for name, child in (node.get(keyword) or {}).items():
            _check(child, (*path, keyword, name))
    for keyword in _LISTS:
        for place, child in enumerate(node.get(keyword) or ()):
            _check(child, (*path, keyword, str(place)))
    for keyword in _ONES:
        child = node.get(keyword)
        if isinstance(child, list) and keyword == "items":
            for place, item in enumerate(child):
                _check(item, (*path, keyword, str(place)))
        elif child is not None:
            _check(child, (*path, keyword))


def _fault(path: Path, what: str) -> ValueError:
    return ValueError(f"In context={path!r:.200}, {what}")


def _told(value: Any) -> str:
    """A value of a stranger's, so much as is repeated."""
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]}..."


def _is_type(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(one, str) and one in _TYPES for one in value)
    return isinstance(value, str) and value in _TYPES


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 0 and float(value).is_integer()


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_map_of_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_texts, value.values()))


_VALUES: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "type": (_is_type, f"one or some of {', '.join(sorted(_TYPES))}"),
    "required": (_is_texts, "a list of strings"),
    "enum": (lambda value: isinstance(value, list) and bool(value), "a list of at least one value"),
    "pattern": (lambda value: isinstance(value, str), "a string"),
    "format": (lambda value: isinstance(value, str), "a string"),
    "$ref": (lambda value: isinstance(value, str), "a string"),
    "uniqueItems": (lambda value: isinstance(value, bool), "a boolean"),
    "multipleOf": (lambda value: _is_number(value) and value > 0, "a number above 0"),
    "dependentRequired": (_is_map_of_texts, "an object of lists of strings"),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), (_is_number, "a number")),
    **dict.fromkeys(
        (
            *("minLength", "maxLength", "minItems", "maxItems"),
            *("minProperties", "maxProperties", "minContains", "maxContains"),
        ),
        (_is_count, "a whole number of at least 0"),
    ),
    **dict.fromkeys(_MAPS, (lambda value: isinstance(value, dict), "an object")),
    **dict.fromkeys(_LISTS, (lambda value: isinstance(value, list) and bool(value), "a list of at least one schema")),
}
"""What keywords hold: whether a value is right, and what it must be."""
