from __future__ import annotations

from typing import Any

import pytest

from gateway.schemas.schema_form import check_form, check_of_objects

TEXT = {"type": "string"}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": ["string", "null"], "minLength": 1, "maxLength": 3.0, "pattern": "^a", "format": "date"},
        {"type": "object", "properties": {"type": {"enum": [1, None]}, "required": True}, "required": ["type"]},
        {"properties": {"items": {"type": "array", "items": TEXT, "uniqueItems": False, "minItems": 0}}},
        {"items": [TEXT, {"const": {"type": "banana"}}], "additionalItems": False, "prefixItems": [True]},
        {"anyOf": [TEXT, {"$ref": "#/$defs/a"}], "$defs": {"a": {"not": {}}}, "default": {"type": 5}},
        {"type": "object", "description": None, "required": None, "properties": None, "title": 5},
        {"minimum": -1.5, "exclusiveMaximum": 2, "multipleOf": 0.1, "if": {}, "then": TEXT, "else": False},
        {"dependentRequired": {"a": ["b"]}, "dependentSchemas": {"a": TEXT}, "x-order": ["type", 3]},
    ],
)
def test_a_schema_passes(schema: dict[str, Any]) -> None:
    check_form(schema)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "banana"}, r"In context=\(\), 'type' must be one or some of array.* got \"banana\""),
        ({"type": []}, "'type' must be"),
        ({"type": ["string", 5]}, "'type' must be"),
        ({"type": {"a": 1}}, "'type' must be"),
        ({"properties": {"a": {"type": "int"}}}, r"In context=\('properties', 'a'\), 'type'"),
        ({"properties": [TEXT]}, "'properties' must be an object"),
        ({"properties": {"a": "string"}}, r"\('properties', 'a'\), a schema is an object or a boolean, and \"string\""),
        ({"properties": {"a": TEXT | {"required": True}}}, "'required' must be a list of strings, got True"),
        ({"required": ["a", 5]}, "'required' must be"),
        ({"enum": []}, "'enum' must be a list of at least one value"),
        ({"items": "string"}, r"\('items',\), a schema is"),
        ({"items": [TEXT, 5]}, r"\('items', '1'\), a schema is"),
        ({"anyOf": {}}, "'anyOf' must be a list of at least one schema"),
        ({"allOf": []}, "'allOf' must be"),
        ({"oneOf": [TEXT, None]}, r"\('oneOf', '1'\), a schema is"),
        ({"additionalProperties": "no"}, r"\('additionalProperties',\)"),
        ({"not": {"$defs": {"a": {"minLength": -1}}}}, r"\('not', '\$defs', 'a'\), 'minLength' must be a whole number"),
        ({"maxItems": 1.5}, "'maxItems' must be"),
        ({"minimum": "0"}, "'minimum' must be a number"),
        ({"exclusiveMinimum": True}, "'exclusiveMinimum' must be a number, got True"),
        ({"multipleOf": 0}, "'multipleOf' must be a number above 0"),
        ({"pattern": 5}, "'pattern' must be a string"),
        ({"$ref": {}}, "'\\$ref' must be a string"),
        ({"dependentRequired": {"a": "b"}}, "'dependentRequired' must be"),
        ({"type": "x" * 10_000}, r"x\.\.\.$"),
    ],
)
def test_what_is_none_is_refused_where_it_stands(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        check_form(schema)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"type": ["object", "null"]}, {"anyOf": [{}]}])
def test_arguments_are_an_object(schema: dict[str, Any]) -> None:
    check_of_objects(schema)


@pytest.mark.parametrize("kind", ["array", ["string", "null"], "banana"])
def test_other_arguments_are_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="must be a JSON Schema of 'type: \"object\"'"):
        check_of_objects({"type": kind})
