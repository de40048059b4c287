"""Schemas in other words, so that llguidance takes them. Pure."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Final

from inference_service.answers.schema_cost import MAX_NUMBER, is_number
from jan.json_schema import rewritten, schemas

_COUNTS: Final = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_MAY_BE_NULL: Final = ("const", "default")
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")

# Nearly what 64 bits hold, of which most programs know no more; llguidance takes no larger round number.
_LARGEST_INTEGER: Final = 9 * 10**18
# Each costs the compiler an expression of its own, of which it takes some hundreds.
_MOST_BOUNDED: Final = 100


def normalized(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same schema, in which 2.0 is written as 2 where something is counted, and what is null is absent."""

    def change(node: dict[str, Any]) -> dict[str, Any]:
        counts = {key: node[key] for key in _COUNTS if isinstance(node.get(key), float)}
        whole = {key: int(count) for key, count in counts.items() if count.is_integer() and count <= MAX_NUMBER}
        return {key: value for key, value in (node | whole).items() if value is not None or key in _MAY_BE_NULL}

    changed: Mapping[str, Any] = rewritten(schema, change)
    return changed


def without_vast_bounds(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema without bounds of numbers that are too big for llguidance."""

    def change(node: dict[str, Any]) -> dict[str, Any]:
        vast = {key for key in _BOUNDS if is_number(node.get(key)) and abs(node[key]) > MAX_NUMBER}
        return {key: value for key, value in node.items() if key not in vast}

    changed: Mapping[str, Any] = rewritten(schema, change)
    return changed


def with_bounded_integers(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema with bounds for integers that have none: small models write digits until their limit.

    As it is where there are many of them.
    """
    if sum(_is_open_integer(node) for _, node in schemas(schema)) > _MOST_BOUNDED:
        return schema

    def change(node: dict[str, Any]) -> dict[str, Any]:
        bounds = {"minimum": -_LARGEST_INTEGER, "maximum": _LARGEST_INTEGER}
        return node | bounds if _is_open_integer(node) else node

    changed: Mapping[str, Any] = rewritten(schema, change)
    return changed


def without_patterns(schema: Mapping[str, Any], texts: Container[str]) -> Mapping[str, Any]:
    """The schema without the patterns that are these texts."""

    def change(node: dict[str, Any]) -> dict[str, Any]:
        told = {key: value for key, value in node.items() if not (key == "pattern" and _is_text_in(value, texts))}
        if isinstance(by_pattern := told.get("patternProperties"), Mapping):
            told["patternProperties"] = {text: child for text, child in by_pattern.items() if text not in texts}
        return told

    changed: Mapping[str, Any] = rewritten(schema, change)
    return changed


def _is_open_integer(node: Mapping[str, Any]) -> bool:
    """Whether the only numbers it allows are integers, without naming or bounding them."""
    kinds = node.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return "integer" in kinds and "number" not in kinds and not {"enum", "const", *_BOUNDS} & node.keys()


def _is_text_in(value: object, texts: Container[str]) -> bool:
    return isinstance(value, str) and value in texts
