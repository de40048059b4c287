from __future__ import annotations

import pytest

from gateway.convert.json_fields import MAX_SENT_LENGTH, from_text, sent_to_text, string_map, to_text
from jan.errors import InvalidArgumentError


def test_absent_values_are_the_empty_text() -> None:
    assert to_text(None) == ""
    assert from_text("") is None
    assert from_text("", []) == []


def test_a_value_comes_back_as_it_was() -> None:
    value = {"a": [1, 2.5, None, "é"], "b": {}}
    assert from_text(to_text(value)) == value


def test_metadata_of_old_threads_becomes_a_map_of_strings() -> None:
    assert string_map('{"a":"x","b":1,"c":true,"d":null,"e":{"f":["g"]}}') == {
        "a": "x",
        "b": "1",
        "c": "true",
        "d": "null",
        "e": '{"f":["g"]}',
    }
    assert string_map("") == {}


def test_null_inside_a_map_is_not_an_absent_value() -> None:
    assert string_map('{"k":null}')["k"] == "null"


def test_what_is_too_long_to_keep_is_refused_by_name() -> None:
    assert sent_to_text("x" * (MAX_SENT_LENGTH - 2), "tools")
    with pytest.raises(InvalidArgumentError) as caught:
        sent_to_text("x" * (MAX_SENT_LENGTH - 1), "tools")
    assert (caught.value.param, caught.value.code) == ("tools", "string_above_max_length")
