"""Whatever a strict schema of a whole family says: every text that its grammar writes is what a validator accepts."""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import Any

import jsonschema_rs
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher

from inference_service.answers.binding import Binding, Part
from jan.errors import InvalidArgumentError

_MOST_BYTES = 400
_ENDS = b'"}],0:'
"""What ends things, if it may come next: texts and lists would go on for ever."""


def bounds(low: str, high: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    pairs = st.tuples(values, values).map(sorted)
    return pairs.flatmap(lambda pair: st.sampled_from([{low: pair[0]}, {high: pair[1]}, {low: pair[0], high: pair[1]}]))


LENGTHS = bounds("minLength", "maxLength", st.integers(0, 8))
PATTERNS = st.sampled_from(
    [
        r"^\d{3}$",
        r"^\w+$",
        "[0-9]{2}",
        "^[^@]{2,4}$",
        "^[^@]+@[^@]+$",
        "^a|b$",
        "x[0-9a-f]y",
        "^(?=a)a",
        "é$",
    ]
)
FORMATS = st.sampled_from(["ipv4", "uuid", "uri"])  # validators disagree on leap seconds and lengths of names
TEXTS = st.one_of(
    st.just({}), LENGTHS, PATTERNS.map(lambda pattern: {"pattern": pattern}), FORMATS.map(lambda name: {"format": name})
).map(lambda rules: {"type": "string", **rules})
WHOLE_NUMBERS = st.one_of(
    st.just({}),
    bounds("minimum", "maximum", st.integers(-300, 300)),
    bounds("exclusiveMinimum", "exclusiveMaximum", st.integers(-300, 300)),
    st.integers(1, 12).map(lambda number: {"multipleOf": number}),
).map(lambda rules: {"type": "integer", **rules})
NUMBERS = st.one_of(
    bounds("minimum", "maximum", st.integers(-50, 50).map(lambda number: number / 4)),
    bounds("exclusiveMinimum", "exclusiveMaximum", st.integers(-50, 50).map(lambda number: number / 4)),
).map(lambda rules: {"type": "number", **rules})
VALUES = st.one_of(st.text(max_size=4), st.integers(-(2**53), 2**53), st.none(), st.booleans())
OTHERS = st.one_of(
    st.sampled_from([{"type": "null"}, {"type": "boolean"}, {"type": ["integer", "null"]}, {"$ref": "#"}]),
    st.lists(VALUES, min_size=1, max_size=4).map(lambda values: {"enum": values}),
    VALUES.map(lambda value: {"const": value}),
)


def closed(properties: dict[str, Any]) -> dict[str, Any]:
    required = list(properties)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def containers(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    items = bounds("minItems", "maxItems", st.integers(0, 3))
    return st.one_of(
        st.dictionaries(st.text(max_size=3), inner, max_size=3).map(closed),
        st.tuples(inner, items).map(lambda pair: {"type": "array", "items": pair[0], **pair[1]}),
        st.lists(inner, min_size=1, max_size=3).map(lambda options: {"anyOf": options}),
    )


SCHEMAS = st.recursive(st.one_of(TEXTS, WHOLE_NUMBERS, NUMBERS, OTHERS), containers, max_leaves=5)


def written(matcher: LLMatcher, chance: Random) -> str | None:
    """A text that the grammar takes, each byte chosen among those that may follow; None if it does not end in time."""
    text = bytearray()
    while not matcher.is_accepting() or (not matcher.is_stopped() and chance.random() < 0.5):
        if len(text) >= _MOST_BYTES or matcher.is_error():
            return None
        mask = matcher.compute_bitmask()
        may_come = [byte for byte in range(256) if mask[byte // 8] & (1 << byte % 8)]
        ends = [byte for byte in may_come if byte in _ENDS]
        text.append(chance.choice(ends if ends and chance.random() < 0.75 else may_come))
        if not matcher.consume_token(text[-1]):
            assert "Too many items" in matcher.get_error()  # a loop that nothing ends
            return None
    return text.decode()


@settings(max_examples=60)
@given(properties=st.dictionaries(st.text(max_size=3), SCHEMAS, min_size=1, max_size=3), seed=st.integers(0, 2**32))
def test_what_is_written_is_valid(properties: dict[str, Any], seed: int) -> None:
    schema = closed(properties)
    try:
        grammar = asyncio.run(Binding(schema, "x", (Part(schema, "x", is_strict=True),)).grammar())
    except InvalidArgumentError:
        return
    text = written(grammar.matcher(), Random(seed))
    if text is not None:
        jsonschema_rs.validate(schema, json.loads(text), validate_formats=True)
