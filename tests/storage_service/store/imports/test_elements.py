"""A list in pieces: every element whole, wherever the pieces break, and no damage spreads."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_service.store.imports import elements
from storage_service.store.imports.elements import Element, Parsed, parse, split

_VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=6) | st.sampled_from(["[", '"', "\\", '\\"', "}{", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
_OBJECTS = st.lists(st.dictionaries(st.text(max_size=3), _VALUES, max_size=3), max_size=5)


def pieces(data: bytes, size: int) -> list[Element]:
    return list(split(data[at : at + size] for at in range(0, len(data), size)))


@settings(max_examples=100)
@given(values=_OBJECTS, size=st.integers(1, 12), indent=st.sampled_from([None, 2]))
def test_every_element_comes_whole_and_in_order(values: list[dict[str, Any]], size: int, indent: int | None) -> None:
    data = json.dumps(values, indent=indent).encode()
    found = pieces(data, size)
    assert [json.loads(element.data or b"") for element in found] == values
    assert all(element.is_whole for element in found)


@settings(max_examples=200)
@given(data=st.text('[]{}"\\,: 1a\ufeff', max_size=30).map(str.encode), size=st.integers(1, 8))
def test_pieces_make_no_difference_and_nothing_is_left_out(data: bytes, size: int) -> None:
    found = pieces(data, size)
    assert found == pieces(data, len(data) or 1)
    rest = data
    for element in found:
        assert element.data is not None
        place = rest.find(element.data)
        assert place >= 0
        assert not rest[:place].strip(b" ,[]}\xef\xbb\xbf")
        rest = rest[place + len(element.data) :]
    assert not rest.strip(b" ,[]}\xef\xbb\xbf")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", []),
        (b"[]", []),
        (b'\xef\xbb\xbf [ {"a":1} ] ', [Element(b'{"a":1}')]),
        (b'{"a":1}\n{"b":2}', [Element(b'{"a":1}'), Element(b'{"b":2}')]),
        (b'[{"a":1},{"b', [Element(b'{"a":1}'), Element(b'{"b', is_whole=False)]),
        (b'[{"a":1},', [Element(b'{"a":1}'), Element(b"", is_whole=False)]),
        (b'[{"a":1}, null, {"b":2}]', [Element(b'{"a":1}'), Element(b"null"), Element(b'{"b":2}')]),
        (b'[{"a":,}, {"b":2}]', [Element(b'{"a":,}'), Element(b'{"b":2}')]),
        (b"[{}]][{}]", [Element(b"{}"), Element(b"{}")]),
    ],
)
def test_damage_stays_where_it_is(data: bytes, found: list[Element]) -> None:
    assert pieces(data, 3) == found


@pytest.mark.parametrize("inside", [b"x" * 500, b'\\"' * 300, b'", "', b'",[],"' * 100])
def test_a_large_element_is_passed_over_and_the_next_one_read(monkeypatch: pytest.MonkeyPatch, inside: bytes) -> None:
    monkeypatch.setattr(elements, "MAX_ELEMENT_BYTES", 200)
    monkeypatch.setattr(elements, "MAX_ELEMENT_TOKENS", 50)
    large = b'{"a":["' + inside * 2 + b'"]}'
    expected = Element(large if len(large) <= 200 else None)
    for size in (1, 7, 64, 10_000):
        assert pieces(b'[{"b":1},' + large + b',{"c":2}]', size) == [Element(b'{"b":1}'), expected, Element(b'{"c":2}')]


@pytest.mark.parametrize(
    ("data", "parsed"),
    [
        (b'{"a":"\xc3\xa4"}', Parsed({"a": "ä"})),
        (b'{"a":"\\ud83d\\ude00"}', Parsed({"a": "😀"})),
        (b'{"a":"x\\ud800"}', Parsed({"a": "x\ufffd\ufffd\ufffd"}, is_mended=True)),
        (b'{"a":"x\xff"}', Parsed({"a": "x\ufffd"}, is_mended=True)),
        (b'{"a":NaN}', Parsed({"a": None}, is_mended=True)),
        (b'{"a":1e999}', None),
        (b'{"a":' + b"9" * 5000 + b"}", None),
        (b"[" * 100_000, None),
        (b"[" * 100_000 + b"]" * 100_000, None),
        (b'{"a":' * 2000 + b"1" + b"}" * 2000, None),
        (b"{'a': 1}", None),
        (b"", None),
    ],
)
def test_what_can_be_read_is_read(data: bytes, parsed: Parsed | None) -> None:
    assert parse(data) == parsed


def test_a_file_of_many_pieces_is_never_held_whole() -> None:
    one = orjson.dumps({"text": "x" * 1000})
    count = sum(1 for _ in split(iter([b"[" + one] + [b"," + one] * 20_000 + [b"]"])))
    assert count == 20_001
