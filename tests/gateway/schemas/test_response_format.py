from __future__ import annotations

from typing import Any

import pytest

from gateway.schemas.response_format import check_schema


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {
            "properties": {"x": {"$ref": "#/$defs/a"}},
            "$defs": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/a"}]}},
        },
        {"$defs": {"a/b": {"allOf": [{"oneOf": [{"$ref": "#/$defs/a~1b"}]}]}}},
        {"anyOf": [{"$ref": "#/anyOf/0"}]},
        {"$ref": "#/$defs/%61", "$defs": {"a": {"$ref": "#/$defs/%61"}}},
    ],
)
def test_a_reference_that_leads_back_to_itself_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="leads back to itself"):
        check_schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"next": {"anyOf": [{"$ref": "#/$defs/a"}, {}]}}}}},
        {"properties": {"x": {"$ref": "#/$defs/a"}, "y": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"type": "null"}}},
        {"$ref": "#/nowhere"},
        {"$ref": "https://example.com/schema"},
        {"properties": {"$ref": {"type": "string"}}},
        {"anyOf": "x", "allOf": [1, None, "y"]},
    ],
)
def test_other_references_pass(schema: dict[str, Any]) -> None:
    check_schema(schema)


def test_many_references_are_followed_once_each() -> None:
    definitions = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 20} for i in range(100)}
    check_schema({"$ref": "#/$defs/d0", "$defs": definitions})


def test_a_long_chain_is_followed_to_its_end() -> None:
    definitions = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(1500)}
    with pytest.raises(ValueError, match="chain"):
        check_schema({"$ref": "#/$defs/d0", "$defs": definitions})


def test_a_number_beyond_64_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 64 bits"):
        check_schema({"type": "integer", "maximum": 10**30})
