from __future__ import annotations

from typing import Any

import pytest

from gateway.schemas.strict_schema import check_strict

TEXT = {"type": "string"}


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def nested(levels: int) -> dict[str, Any]:
    schema = closed(a=TEXT)
    for _ in range(levels - 1):
        schema = closed(a=schema)
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        closed(),
        closed(a=TEXT, b={"type": ["integer", "null"]}, c={"enum": ["x"]}, d={"const": 1}),
        closed(a={"anyOf": [closed(b=TEXT), {"type": "null"}]}),
        closed(a={"type": "array", "items": closed(b={"type": "string", "pattern": "^x"})}),
        {**closed(next={"anyOf": [{"$ref": "#"}, {"type": "null"}]}), "$defs": {"a": closed(b=TEXT)}},
        {"$ref": "#/$defs/a", "$defs": {"a": closed(b={"$ref": "#/$defs/a"})}},
        closed(properties=TEXT, items=TEXT, anyOf=TEXT),
        nested(10),
    ],
)
def test_a_schema_of_the_rules_passes(schema: dict[str, Any]) -> None:
    check_strict(schema)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "string"}, "'type: \"object\"', got 'type: \"string\"'"),
        ({}, "got 'type: \"None\"'"),
        ({**closed(a=TEXT), "anyOf": []}, "must not have 'anyOf'"),
        ({**closed(a=TEXT), "additionalProperties": True}, "'additionalProperties' is required"),
        ({**closed(a=TEXT), "required": []}, "Missing 'a'"),
        (closed(a={"type": "object", "properties": {}}), r"context=\('properties', 'a'\), 'additionalProperties'"),
        (closed(a={"properties": {"b": TEXT}}), "'additionalProperties'"),
        (closed(a={"allOf": [TEXT]}), "'allOf' is not permitted"),
        (closed(a={"type": "array", "items": {"type": "string", "not": {}}}), "'not' is not permitted"),
        ({**closed(), "$defs": {"x": {"type": "object"}}}, r"\('\$defs', 'x'\)"),
        (closed(a={}), "must have a 'type' key"),
        (closed(a={"type": "array"}), "missing items"),
        (closed(a={"enum": list(range(1001))}), "at most 1000 enum values"),
        (closed(**{f"p{number}": TEXT for number in range(5001)}), "at most 5000 properties"),
        (nested(12), "at most 10 levels"),
    ],
)
def test_a_broken_rule_is_named(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_strict(schema)
