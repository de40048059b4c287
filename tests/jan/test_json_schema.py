from __future__ import annotations

from typing import Any

import pytest

from jan.json_schema import optional_properties, referred_to

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
