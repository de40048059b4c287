"""Parameters from files: old spellings, numbers as text, nonsense left out, layers key by key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.completions.parameters import NAMES, OF_REQUESTS, layered, stored_parameters, unused_parameters


@pytest.mark.parametrize(
    ("stored", "understood"),
    [
        ({"temperature": "0.7", "token_limit": "2048", "stream": True}, {"temperature": 0.7, "max_tokens": 2048}),
        ({"max_completion_tokens": 5.0, "stop": ["x"]}, {"max_tokens": 5, "stop": ["x"]}),
        ({"max_tokens": "nan", "top_p": "inf", "seed": "-inf"}, {}),
        ({"max_tokens": -100_000, "temperature": 1e300, "top_p": -4}, {}),
        ({"max_tokens": 1e300, "seed": 2**63}, {}),
        ({"temperature": True, "top_k": None, "min_p": []}, {}),
        ({"typ_p": "0.5", "mirostat": 2.0}, {"typical_p": 0.5, "mirostat": 2}),
        ({"ignore_eos": "true"}, {"ignore_eos": True}),
        ({"ignore_eos": 1, "mirostat": 3, "mirostat_eta": -1}, {}),
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


JANS = (
    *("temperature", "token_limit", "top_k", "top_p", "stream", "max_tokens", "stop", "frequency_penalty", "engine"),
    *("presence_penalty", "seed", "min_p", "typ_p", "repeat_penalty", "repeat_last_n", "mirostat", "mirostat_tau"),
    *("mirostat_eta", "dynatemp_range", "dynatemp_exponent", "min_keep", "ignore_eos"),
)
GONE = ("max_temperature", "tfs_z", "n_probs", "penalize_nl")
"""What Jan and cortex wrote that no engine here has any more, or that makes no difference to an answer."""
NOT_VLLMS = (
    *("typ_p", "repeat_last_n", "mirostat", "mirostat_tau", "mirostat_eta", "dynatemp_range", "dynatemp_exponent"),
    "min_keep",
)


@pytest.mark.parametrize(
    ("engine", "unused"),
    [("llamacpp", ()), ("vllm", NOT_VLLMS), ("openai", ("top_k", "min_p", "repeat_penalty", "ignore_eos", *NOT_VLLMS))],
)
def test_every_parameter_of_jans_is_heeded_or_named(engine: str, unused: tuple[str, ...]) -> None:
    written = dict.fromkeys([*JANS, *GONE], 1) | {"stop": ["x"], "ignore_eos": False}
    assert set(unused_parameters(written, engine)) == {*unused, *GONE, *OF_REQUESTS}


def test_what_cannot_be_understood_is_named_and_nothing_is_not() -> None:
    assert unused_parameters({"top_p": 7, "seed": None, "grammar": "x"}, "llamacpp") == ["top_p", "grammar"]
    assert "typical_p" in NAMES
