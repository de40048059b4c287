"""Single fields as Jan's files hold them, and changes laid over a file."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_service.store.forms import fields

KEYS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3))


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (1704504633, 1704504633000),
        (1704504633123, 1704504633123),
        (1752200101.25, 1752200101250),
        (0, None),
        (-5, None),
        (True, None),
        ("1704504633", 1704504633000),
        ("yesterday", None),
        ("1" * 400, None),
        (None, None),
        (1e300, None),
        (math.inf, None),
        (math.nan, None),
    ],
)
def test_a_time_in_any_unit(value: object, milliseconds: int | None) -> None:
    assert fields.time_ms({"created": value}, "created") == milliseconds


def test_the_first_key_that_holds_a_time_counts() -> None:
    assert fields.time_ms({"created": 0, "created_at": 5}, "created", "created_at") == 5000


@given(raw=KEYS, before=KEYS, after=KEYS)
def test_only_what_changed_is_laid_over(raw: dict[str, int], before: dict[str, int], after: dict[str, int]) -> None:
    result = fields.overlay(raw, before, after)
    for key in "abcdef":
        if key in after and (key not in before or before[key] != after[key]):
            assert result[key] == after[key]
        elif key in before and key not in after:
            assert key not in result
        else:
            assert result.get(key) == raw.get(key)
