"""What is read can be written again, and what is not is told before anybody else's work is broken by it."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from jan.errors import InvalidArgumentError
from storage_service.store import jsontext


def nested(levels: int) -> dict[str, Any]:
    """An object of so many levels."""
    value: dict[str, Any] = {"a": "x"}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


@pytest.mark.parametrize("levels", [1, 200, jsontext.MAX_LEVELS])
def test_what_is_read_can_be_written_again_and_told_within_an_answer(levels: int) -> None:
    value = jsontext.load_object(json.dumps(nested(levels)).encode())
    assert value == nested(levels)
    assert jsontext.loads(jsontext.dumps(value, indented=True)) == value
    orjson.dumps({"data": [{"content": [value]}]})


@pytest.mark.parametrize("levels", [jsontext.MAX_LEVELS + 1, 254, 255, 900, 1_100])
def test_what_is_nested_too_deep_is_neither_read_nor_written(levels: int) -> None:
    assert jsontext.load_object(b"[" * levels + b"]" * levels) is None
    assert jsontext.load_object(b'{"a":' * levels + b"1" + b"}" * levels) is None
    with pytest.raises(InvalidArgumentError):
        jsontext.dumps(nested(levels))


def test_many_brackets_are_not_many_levels() -> None:
    flat = {"text": "{[" * 1_000, "list": [{}] * 1_000}
    assert jsontext.load_object(jsontext.dumps(flat)) == flat


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xef\xbb\xbf"])
def test_what_is_no_object_is_none(data: bytes) -> None:
    assert jsontext.load_object(data) is None
