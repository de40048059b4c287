from __future__ import annotations

from typing import Any

import pytest

from jan.json_schema import optional_properties, referred_to, rewritten, schemas

ROOT: dict[str, Any] = {"$defs": {"a/b": 1, "c~d": {"e f": 2}, "": 3}, "anyOf": [{"x": 4}]}


@pytest.mark.parametrize(
    ("reference", "target"),
    [
        ("#", ROOT),
        ("#/$defs/a~1b", 1),
        ("#/$defs/c~0d/e%20f", 2),
        ("#/%24defs/", 3),
        ("#/anyOf/0/x", 4),
        ("#/anyOf/1", None),
        ("#/anyOf/-1", None),
        ("#/nowhere/at/all", None),
        ("#anchor", None),
        ("https://example.org/#/anyOf", None),
        ("", None),
        (7, None),
    ],
)
def test_a_reference_leads_where_its_pointer_says(reference: object, target: object) -> None:
    assert referred_to(ROOT, {"$ref": reference}) is target


def test_without_a_reference_there_is_no_target() -> None:
    assert referred_to(ROOT, {}) is None


@pytest.mark.parametrize(
    ("schema", "count"),
    [
        ({}, 0),
        ({"properties": {"a": {}, "b": {}}}, 2),
        ({"properties": {"a": {}, "b": {}}, "required": ["a", "a", "a", "c", 7]}, 1),
        ({"properties": {"a": {}}, "required": "a"}, 1),
        ({"properties": []}, 0),
    ],
)
def test_properties_that_may_be_left_out_are_counted_once_each(schema: dict[str, Any], count: int) -> None:
    assert optional_properties(schema) == count


DATA = {"enum": [{"a": {}}], "const": {"a": {}}, "default": {"a": {}}, "examples": [{"a": {}}]}
WHOLE = {
    **DATA,
    "properties": {"default": {"type": "null"}, "a": True},
    "anyOf": [{"items": {"type": "string"}}, False],
    "components": {"schemas": {"x": {}}},
}


def test_each_schema_is_found_at_its_place_and_no_data() -> None:
    assert [".".join(path) for path, _ in schemas(WHOLE)] == [
        *("", "properties.default", "anyOf.0", "anyOf.0.items"),
        *("components", "components.schemas", "components.schemas.x"),
    ]


def test_what_is_found_is_rewritten_and_data_stay_as_they_are() -> None:
    told = rewritten(WHOLE, lambda node: {**node, "x-seen": True})
    assert {key: told[key] for key in DATA} == DATA
    assert [node["x-seen"] for _, node in schemas(told)] == [True] * 7
    assert rewritten(told, lambda node: {key: node[key] for key in node if key != "x-seen"}) == WHOLE
