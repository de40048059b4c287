from __future__ import annotations

from typing import Any

import pytest

from inference_service.engines.grammar_cost import MAX_CHOICES, check_tools, choices
from jan.errors import InvalidArgumentError


def told(schema: dict[str, Any]) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]}


def in_object(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}, "required": ["a"], "additionalProperties": False}


EMAIL = r"^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$"
UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"


@pytest.mark.parametrize(
    "schema",
    [
        {},
        in_object({"enum": [f"value {number}" for number in range(300)]}),
        in_object({"type": "string", "pattern": EMAIL}),
        in_object({"type": "string", "pattern": UUID}),
        in_object({"type": "string", "maxLength": 10**9}),
        in_object({"type": "array", "minItems": 10**6, "items": {"type": "string"}}),
        {"type": "object", "properties": {f"p{number}": {"pattern": EMAIL} for number in range(30)}},
        {"$defs": {"n": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/n"}]}}, "$ref": "#/$defs/n"},
    ],
)
def test_what_people_ask_for_passes(schema: dict[str, Any]) -> None:
    check_tools(told(schema))


@pytest.mark.parametrize(
    "schema",
    [
        in_object({"enum": list(range(3000))}),
        in_object({"type": "string", "pattern": "^" + "(a|b|c|d|e)*" * 18 + "$"}),
        in_object({"oneOf": [{"const": number} for number in range(600)]}),
        {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(900)}},
        {"$defs": {"e": {"enum": list(range(100))}}, "anyOf": [{"$ref": "#/$defs/e"} for _ in range(100)]},
        {
            "$defs": {
                **{
                    f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]}
                    for n in range(60)
                },
                "d60": {"type": "string"},
            },
            "$ref": "#/$defs/d0",
        },
        {
            "$defs": {f"d{n}": {"properties": {"a": {"$ref": f"#/$defs/d{n + 1}"}}} for n in range(900)},
            "$ref": "#/$defs/d0",
        },
    ],
)
def test_what_holds_up_everybody_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=f"takes at most {MAX_CHOICES}") as caught:
        check_tools(told(schema))
    assert (caught.value.param, caught.value.code) == ("tools[0].function.parameters", "schema_too_complex")


@pytest.mark.parametrize(
    "schema", [True, None, 5, {"enum": "x", "properties": [], "required": 3, "$ref": 4}, {"$ref": "#/x/y"}]
)
def test_what_is_no_schema_is_for_the_engine_to_refuse(schema: object) -> None:
    assert choices(schema) == 0


def test_many_tools_are_not_one_large_one() -> None:
    function = {"name": "f", "parameters": in_object({"enum": list(range(100))})}
    check_tools({"tools": [{"type": "function", "function": function}] * 128})
