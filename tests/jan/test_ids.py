"""Ids are refused at the first touch when they could become a dangerous path, key or log line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jan.errors import InvalidArgumentError
from jan.ids import AssistantId, Id, MessageId, ModelId, RunId, ThreadId

HOSTILE = [
    "",
    ".",
    "..",
    "../x",
    "a/../b",
    "..\\x",
    "/etc/passwd",
    "a\0b",
    "a\nb",
    "a b",
    "a.",
    "a..b",
    ".hidden",
    "CON",
    "nul.txt",
    "com1",
    "x" * 10_000,
    "é",
    "a\u2215b",
    "C:",
    "\ud800",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("kind", [ThreadId, MessageId, AssistantId, RunId, ModelId])
def test_hostile_ids_are_refused_without_being_repeated_whole(kind: type[Id], text: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        kind.parse(text)
    assert len(raised.value.message) < 500
    raised.value.message.encode()


@pytest.mark.parametrize(
    "text",
    [
        "jan_1704504633",
        "jan_1704504633-2",
        "01HKF3Z7W3V8Q2M5N6P7R8S9T0",
        "8d3f0a52-1c55-4f0e-9a53-6f2f8e1f77aa",
        "undefined_1712000000",
        "0",
        "homework_helper_700120003",
    ],
)
def test_every_name_jan_ever_gave_passes(text: str) -> None:
    assert ThreadId.parse(text) == text


def test_models_may_lie_in_nested_folders() -> None:
    assert ModelId.parse("vendor/name/v1.5-q4_k_m") == "vendor/name/v1.5-q4_k_m"
    for text in ("a//b", "/a", "a/", "a/b/c/d", "vendor/.."):
        with pytest.raises(InvalidArgumentError):
            ModelId.parse(text)


def test_new_ids_bear_their_prefix_and_parse() -> None:
    assert {RunId.parse(RunId.new()).partition("_")[0] for _ in range(10)} == {"run"}
    assert len({MessageId.new() for _ in range(100)}) == 100


@given(st.text(max_size=200))
def test_what_passes_is_one_plain_path_segment(text: str) -> None:
    try:
        parsed = ThreadId.parse(text)
    except InvalidArgumentError:
        return
    assert parsed.isascii()
    assert not set(parsed) & set("/\\:\0 ")
    assert parsed.strip(".") == parsed != ""
