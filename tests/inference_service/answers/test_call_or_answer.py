from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.answers.binding import Binding, answer_schema
from inference_service.answers.call_or_answer import CallOrAnswer
from inference_service.answers.forced_calls import ForcedCall
from jan.errors import InvalidArgumentError
from tests.inference_service.answers.test_forced_calls import heard, tool

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": {**CITY, "additionalProperties": False}}}
REQUEST: dict[str, Any] = {"tools": [tool("f"), tool("g")], "response_format": FORMAT}
CALL = '{"name": "g", "arguments": {"a": "}\\" {"}}'
ANSWER = '{"name": "g", "city": "Rome"}'


def either(request: dict[str, Any]) -> ForcedCall:
    found = ForcedCall.of(request, answer_schema(request))
    assert found is not None
    return found


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted(place % len(text) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


@pytest.mark.parametrize(
    "more", [{"tools": []}, {"tool_choice": "none"}, {"response_format": {"type": "text"}}, {"response_format": None}]
)
def test_without_tools_or_a_schema_there_is_nothing_to_choose(more: dict[str, Any]) -> None:
    request = {**REQUEST, **more}
    assert ForcedCall.of(request, answer_schema(request)) is None


@given(st.lists(st.integers(0, 100), max_size=12))
def test_a_call_is_told_as_one_wherever_its_pieces_end(places: list[int]) -> None:
    choice = heard(either(REQUEST), cut(CALL, places))
    (call,) = choice["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("g", {"a": '}" {'})
    assert (choice["message"]["content"], choice["finish_reason"]) == (None, "tool_calls")


@given(st.lists(st.integers(0, 100), max_size=12), st.sampled_from([ANSWER, '{"name": "h", "arguments": {}}', "{}"]))
def test_an_answer_is_told_as_it_is_wherever_its_pieces_end(places: list[int], text: str) -> None:
    choice = heard(either(REQUEST), cut(text, places))
    assert "tool_calls" not in choice["message"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (text, "stop")


def test_one_function_must_be_named_to_be_called() -> None:
    request = {**REQUEST, "tools": [tool("g")]}
    assert heard(either(request), [ANSWER])["message"]["content"] == ANSWER
    assert heard(either(request), [CALL])["finish_reason"] == "tool_calls"


def test_spaces_within_a_name_make_another_of_it() -> None:
    text = '{"name": "g ", "arguments": {}}'
    choice = heard(either(REQUEST), [text[:12], text[12:]])
    assert (choice["message"]["content"], choice["finish_reason"]) == (text, "stop")


@pytest.mark.parametrize(
    "answer",
    [
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {"properties": {"name": {}, "arguments": {}}}}},
    ],
)
async def test_an_answer_that_may_look_like_a_strict_call_is_refused(answer: dict[str, Any]) -> None:
    """What it says would be told as a call whose arguments nothing has bound."""
    strict = {"name": "f", "strict": True, "parameters": {**CITY, "additionalProperties": False}}
    request = {"tools": [{"type": "function", "function": strict}], "response_format": answer}
    binding = Binding.of(request, either(request))
    assert binding is not None
    with pytest.raises(InvalidArgumentError, match="look like a call of 'f'") as caught:
        await binding.grammar()
    assert (caught.value.param, caught.value.code) == ("response_format", "unsupported_schema")
    loose = {**request, "tools": [{"type": "function", "function": {**strict, "strict": False}}]}
    binding = Binding.of(loose, either(loose))
    assert binding is not None
    assert (await binding.grammar()).schema


def test_what_a_limit_cut_before_it_was_known_is_an_answer() -> None:
    choice = heard(either(REQUEST), ['{"name": '], "length")
    assert (choice["message"]["content"], choice["finish_reason"]) == ('{"name": ', "length")


def test_thoughts_are_told_while_nothing_else_is_known() -> None:
    kind = CallOrAnswer(["f"])
    thought = {"index": 0, "delta": {"reasoning_content": "hm"}}
    assert kind.hear(thought) == [thought]
    assert kind.hear({"index": 0, "delta": {"content": "{"}}) == []
    said = {"index": 0, "delta": {"content": '"city'}, "logprobs": {"content": [1]}}
    assert kind.hear(said) == [{"index": 0, "delta": {"content": "{"}}, said]


async def test_calls_and_answers_both_bind_and_nothing_else() -> None:
    binding = Binding.of(REQUEST, either(REQUEST))
    assert binding is not None
    grammar = await binding.grammar()
    for text, is_taken in [
        ('{"city":"Rome"}', True),
        ('{"name":"f","arguments":{}}', True),
        ('{"name":"h","arguments":{}}', False),
        ('{"town":"Rome"}', False),
    ]:
        matcher = grammar.matcher()
        assert (matcher.consume_tokens(list(text.encode())) and matcher.is_accepting()) is is_taken, text


@pytest.mark.parametrize("place", ["response_format", "tools[0].function.parameters"])
async def test_what_is_strict_of_either_binds_or_is_named(place: str) -> None:
    loose = {"type": "object", "properties": {"a": {"type": "string", "format": "uri"}}}
    function = {"name": "f", "strict": place != "response_format", "parameters": loose}
    asked = {"name": "x", "strict": place == "response_format", "schema": loose}
    request = {
        "tools": [{"type": "function", "function": function}],
        "response_format": {"type": "json_schema", "json_schema": asked},
    }
    binding = Binding.of(request, either(request))
    assert binding is not None
    with pytest.raises(InvalidArgumentError, match="'uri'") as caught:
        await binding.grammar()
    assert caught.value.param == place


def test_the_model_is_told_of_both() -> None:
    (told, _) = either(REQUEST).told_to([{"role": "user", "content": "Where?"}])
    assert '"city"' in told["content"]
    assert '"name": <function>' in told["content"]
