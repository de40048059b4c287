from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.answers.forced_calls import ForcedCall, ForcedCallAnswer
from inference_service.answers.shapes import AnswerHead, AnswerWishes
from inference_service.answers.whole import WholeAnswer

HEAD = AnswerHead("chatcmpl-1", 1_700_000_000, "m")


def tool(name: str, **parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", **parameters}}}


def forced(*tools: dict[str, Any], choice: object = "required") -> ForcedCall:
    found = ForcedCall.of({"tools": tools, "tool_choice": choice})
    assert found is not None
    return found


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def heard(call: ForcedCall, pieces: list[str], reason: str = "stop") -> dict[str, Any]:
    answer = ForcedCallAnswer(WholeAnswer(HEAD, AnswerWishes()), call)
    for piece in pieces:
        answer.feed({"choices": [{"index": 0, "delta": {"content": piece}}]})
    answer.feed({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    assert answer.complete
    (data,) = answer.end()
    choice: dict[str, Any] = json.loads(data)["choices"][0]
    return choice


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_a_free_choice_forces_nothing(choice: object) -> None:
    assert ForcedCall.of({"tools": [tool("f")], "tool_choice": choice}) is None


def test_one_function_is_asked_for_its_arguments() -> None:
    call = forced(tool("f", properties={"a": {"$ref": "#/$defs/x"}}), tool("g"), choice=named("f"))
    properties = {"a": {"$ref": "#/$defs/x"}}
    assert call.schema == {"type": "object", "properties": properties, "additionalProperties": False}


def test_among_several_the_name_comes_first_and_references_still_hold() -> None:
    call = forced(tool("f", properties={"a": {"$ref": "#/$defs/x"}, "self": {"$ref": "#"}}), tool("g"))
    schema = call.schema
    assert [list(one["properties"]) for one in schema["anyOf"]] == [["name", "arguments"]] * 2
    properties = schema["$defs"]["f"]["properties"]
    assert properties == {"a": {"$ref": "#/$defs/f/$defs/x"}, "self": {"$ref": "#/$defs/f"}}


def test_what_looks_like_a_reference_and_is_data_stays_as_it_is() -> None:
    data = {"enum": [{"$ref": "#"}], "const": {"$ref": "#"}, "default": {"$ref": "#"}, "examples": [{"$ref": "#"}]}
    schema = forced(tool("f", properties={"a": data, "$ref": {"$ref": "#"}}), tool("g")).schema
    assert schema["$defs"]["f"]["properties"] == {"a": data, "$ref": {"$ref": "#/$defs/f"}}


@pytest.mark.parametrize("left_out", [{}, {"parameters": None}, {"parameters": {"type": "object", "properties": {}}}])
def test_a_function_without_parameters_takes_none(left_out: dict[str, Any]) -> None:
    call = forced({"type": "function", "function": {"name": "f", **left_out}})
    none = {"type": "object", "properties": {}, "additionalProperties": False}
    assert call.schema == none
    among_others = forced({"type": "function", "function": {"name": "f", **left_out}}, tool("g"))
    assert among_others.schema["$defs"]["f"] == none


def test_arguments_are_an_object_even_without_a_type() -> None:
    call = forced({"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {}}}}})
    assert call.schema == {"type": "object", "properties": {"a": {}}, "additionalProperties": False}


@pytest.mark.parametrize(
    "more",
    [{"additionalProperties": True}, {"patternProperties": {"^x": {}}}, {"allOf": [{"properties": {"b": {}}}]}],
    ids=lambda more: next(iter(more)),
)
def test_arguments_that_may_have_others_stay_open(more: dict[str, Any]) -> None:
    call = forced(tool("f", properties={"a": {}}, **more))
    assert call.schema == {"type": "object", "properties": {"a": {}}, **more}


def test_two_tools_of_one_name_are_one() -> None:
    assert forced(tool("f"), tool("f")).only_name == "f"


@pytest.mark.parametrize(("choice", "reason"), [("required", "tool_calls"), (named("f"), "stop")])
def test_the_end_is_called_as_openai_does(choice: object, reason: str) -> None:
    said = heard(forced(tool("f"), choice=choice), ['{"a"', ":1}\n"])
    (call,) = said["message"]["tool_calls"]
    assert (call["function"], said["finish_reason"]) == ({"name": "f", "arguments": '{"a":1}'}, reason)
    assert said["message"]["content"] is None


def test_a_call_that_was_cut_off_says_so() -> None:
    said = heard(forced(tool("f")), ['{"a'], reason="length")
    assert said["finish_reason"] == "length"
    assert said["message"]["tool_calls"][0]["function"]["arguments"] == '{"a'


def test_a_name_that_never_came_is_no_call() -> None:
    said = heard(forced(tool("f"), tool("g")), ['{"na'], reason="length")
    assert "tool_calls" not in said["message"]


ARGUMENTS = st.dictionaries(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5))


@given(arguments=ARGUMENTS, indent=st.sampled_from([None, 2]), cuts=st.lists(st.integers(0, 200)), alone=st.booleans())
def test_however_it_is_cut_the_call_is_the_same(
    arguments: dict[str, Any], indent: int | None, cuts: list[int], alone: bool
) -> None:
    tools = [tool("f")] if alone else [tool("f"), tool("g")]
    said = arguments if alone else {"name": "f", "arguments": arguments}
    text = " " + json.dumps(said, indent=indent, ensure_ascii=False) + "\n "
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[start:end] for start, end in pairwise(places)]
    (call,) = heard(forced(*tools), pieces)["message"]["tool_calls"]
    assert call["function"]["name"] == "f"
    assert json.loads(call["function"]["arguments"]) == arguments


def test_a_model_without_tools_is_told_of_them() -> None:
    call = forced(tool("f"))
    told = call.told_to([{"role": "user", "content": "hi"}])
    assert [message["role"] for message in told] == ["system", "user"]
    told = call.told_to([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}])
    assert told[0]["content"].startswith("Be kind.\n\nCall one of these functions")
    assert '"name":"f"' in told[0]["content"]


def test_what_ended_before_a_call_began_is_none() -> None:
    choice = heard(forced(tool("f"), tool("g")), ['{"'])
    assert (choice["message"].get("tool_calls"), choice["finish_reason"]) == (None, "stop")


def test_a_schema_that_stands_in_another_has_no_name_of_its_own() -> None:
    call = forced(
        {"type": "function", "function": {"name": "f", "parameters": {"$id": "x", "type": "object"}}}, tool("g")
    )
    assert call.schema["$defs"]["f"] == {"type": "object"}
