"""Parameters from files: old spellings, numbers as text, nonsense left out, layers key by key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.parameters import layered, stored_parameters


@pytest.mark.parametrize(
    ("stored", "understood"),
    [
        ({"temperature": "0.7", "token_limit": "2048", "stream": True}, {"temperature": 0.7, "max_tokens": 2048}),
        ({"max_completion_tokens": 5.0, "stop": ["x"]}, {"max_tokens": 5, "stop": ["x"]}),
        ({"max_tokens": "nan", "top_p": "inf", "seed": "-inf"}, {}),
        ({"max_tokens": -100_000, "temperature": 1e300, "top_p": -4}, {}),
        ({"max_tokens": 1e300, "seed": 2**63}, {}),
        ({"temperature": True, "top_k": None, "min_p": []}, {}),
        ({"engine": "nitro", "grammar": "root ::= x"}, {}),
    ],
)
def test_what_is_understood(stored: dict[str, Any], understood: dict[str, Any]) -> None:
    assert stored_parameters(json.dumps(stored)) == understood


def test_layers_go_over_each_other_key_by_key() -> None:
    assert layered({"a": 1, "b": 1, "stop": ["x"]}, {"a": 2, "stop": []}, {"b": None}) == {
        "a": 2,
        "b": 1,
        "stop": ["x"],
    }
