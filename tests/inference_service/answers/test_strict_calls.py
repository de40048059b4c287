from __future__ import annotations

import json
from typing import Any

import pytest

from inference_service.answers.chunks import ChunkStream
from inference_service.answers.shapes import AnswerHead, AnswerWishes
from inference_service.answers.strict_calls import LEAST_TOKENS, BrokenCall, StrictCalls, StrictTools
from inference_service.answers.whole import WholeAnswer
from tests.inference_service.answers.test_binding import closed

HEAD = AnswerHead("chatcmpl-1", 1_700_000_000, "m")
PARAMETERS = closed(a={"type": "string", "pattern": "[0-9]{3}"}, b={"const": None})
GOOD, BAD = '{"a": "x123", "b": null}', '{"a": "xyz", "b": null}'
USAGE = {"prompt_tokens": 30, "completion_tokens": 7}


def tool(name: str, *, strict: bool | None = True) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "strict": strict, "parameters": PARAMETERS}}


async def calls_of(
    inner: WholeAnswer | ChunkStream, tools: list[dict[str, Any]], choice: str | None = None
) -> StrictCalls:
    strict = StrictTools.of({"tools": tools, "tool_choice": choice})
    assert strict is not None
    return StrictCalls(inner, strict.calls, await strict.binding.grammar())


def piece(reason: str | None = None, *, index: int = 0, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": reason}]}


def begun(name: str, place: int = 0) -> list[dict[str, Any]]:
    return [{"index": place, "id": f"call_{place}", "type": "function", "function": {"name": name, "arguments": ""}}]


def went_on(arguments: str, place: int = 0) -> list[dict[str, Any]]:
    return [{"index": place, "function": {"arguments": arguments}}]


def again(arguments: str | None, reason: str = "stop") -> dict[str, Any]:
    calls = [{"id": "x", "type": "function", "function": {"name": "f", "arguments": arguments}}]
    return {"message": {"tool_calls": calls if arguments is not None else None}, "finish_reason": reason}


def told_by(answer: StrictCalls) -> dict[str, Any]:
    assert answer.complete
    (data,) = answer.end()
    told: dict[str, Any] = json.loads(data)
    return told


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"tools": [tool("f", strict=None)]},
        {"tools": [tool("f")], "tool_choice": "none"},
        {"tools": [tool("f")], "tool_choice": "required"},
    ],
)
def test_without_a_strict_function_and_a_choice_there_is_nothing_to_look_at(request_: dict[str, Any]) -> None:
    assert StrictTools.of(request_) is None


@pytest.mark.parametrize("others", [[], [tool("g"), tool("h", strict=None)]])
async def test_a_call_that_keeps_to_its_schema_is_told_at_its_end(others: list[dict[str, Any]]) -> None:
    answer = await calls_of(WholeAnswer(HEAD, AnswerWishes(has_tools=True)), [tool("f"), *others], "auto")
    for chunk in (piece(content="Let me see."), piece(tool_calls=begun("f")), piece(tool_calls=went_on(GOOD[:9]))):
        answer.feed(chunk)
    answer.feed(piece(tool_calls=went_on(GOOD[9:])))
    answer.feed(piece("tool_calls"))
    assert answer.broken == []
    choice = told_by(answer)["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", "Let me see.")
    assert choice["message"]["tool_calls"] == [
        {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": GOOD}}
    ]


async def test_text_is_told_as_it_comes_and_a_call_when_it_is_whole() -> None:
    answer = await calls_of(ChunkStream(HEAD, AnswerWishes(has_tools=True)), [tool("f")])
    assert b"Hm" in b"".join(answer.feed(piece(content="Hm")))
    assert answer.feed(piece(tool_calls=begun("f"))) == []
    assert answer.feed(piece(tool_calls=went_on(GOOD))) == []
    told = [json.loads(data)["choices"][0] for data in answer.feed(piece("tool_calls"))]
    assert [list(choice["delta"]) for choice in told] == [["tool_calls"], ["tool_calls"], []]
    assert told[1]["delta"]["tool_calls"][0]["function"]["arguments"] == GOOD
    assert told[2]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("said", [BAD, "{", "", '{"a": "x123"}', '{"a": "x123", "b": null, "c": 1}', "[]"])
async def test_a_call_that_breaks_its_schema_waits_for_other_arguments(said: str) -> None:
    answer = await calls_of(WholeAnswer(HEAD, AnswerWishes(has_tools=True)), [tool("f"), tool("g")])
    for chunk in (piece(tool_calls=begun("g")), piece(tool_calls=went_on(GOOD)), piece(tool_calls=begun("f", 1))):
        answer.feed(chunk)
    answer.feed({**piece("tool_calls", tool_calls=went_on(said, 1)), "usage": {"completion_tokens": 5}})
    assert answer.broken == [BrokenCall(0, 1, "f")]
    assert not answer.complete
    answer.mend(answer.broken[0], again(GOOD), USAGE)
    told = told_by(answer)
    calls = told["choices"][0]["message"]["tool_calls"]
    assert [(call["id"], call["function"]["name"]) for call in calls] == [("call_0", "g"), ("call_1", "f")]
    assert [call["function"]["arguments"] for call in calls] == [GOOD, GOOD]
    assert (told["choices"][0]["finish_reason"], told["usage"]["completion_tokens"]) == ("tool_calls", 12)


async def test_a_function_that_is_not_strict_may_be_called_with_anything() -> None:
    answer = await calls_of(WholeAnswer(HEAD, AnswerWishes(has_tools=True)), [tool("f"), tool("h", strict=False)])
    answer.feed(piece("tool_calls", tool_calls=[*begun("h"), *went_on(BAD)]))
    assert told_by(answer)["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == BAD


async def test_a_limit_may_cut_a_call_anywhere() -> None:
    answer = await calls_of(WholeAnswer(HEAD, AnswerWishes(has_tools=True)), [tool("f")])
    answer.feed(piece("length", tool_calls=[*begun("f"), *went_on('{"a": "x')]))
    assert told_by(answer)["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("arguments", ['{"a":"', None])
async def test_a_limit_may_cut_the_second_try_as_well(arguments: str | None) -> None:
    answer = await calls_of(WholeAnswer(HEAD, AnswerWishes(has_tools=True)), [tool("f")])
    answer.feed(piece("tool_calls", tool_calls=[*begun("f"), *went_on(BAD)]))
    answer.mend(answer.broken[0], again(arguments, "length"), USAGE)
    choice = told_by(answer)["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == (arguments or "")


async def test_each_choice_is_looked_at_by_itself() -> None:
    answer = await calls_of(WholeAnswer(HEAD, AnswerWishes(n=3, has_tools=True)), [tool("f")])
    answer.feed(piece("stop", content="No."))
    for index in (1, 2):
        answer.feed(piece("tool_calls", index=index, tool_calls=[*begun("f"), *went_on(BAD)]))
    for call in tuple(answer.broken):
        assert not answer.complete
        answer.mend(call, again(GOOD), USAGE)
    assert [choice["finish_reason"] for choice in told_by(answer)["choices"]] == ["stop", "tool_calls", "tool_calls"]


async def test_the_usage_of_every_question_is_told() -> None:
    answer = await calls_of(WholeAnswer(HEAD, AnswerWishes(n=2, has_tools=True)), [tool("f")])
    for index in (0, 1):  # llama.cpp's, the same prompt for each choice
        read = {"prompt_tokens": 20, "prompt_tokens_details": {"cached_tokens": 4}}
        broken = piece("tool_calls", index=index, tool_calls=[*begun("f"), *went_on(BAD)])
        answer.feed({**broken, "usage": {**read, "completion_tokens": 10}})
    first, second = answer.broken
    answer.mend(first, again(GOOD), {**USAGE, "completion_tokens_details": {"reasoning_tokens": 3}})
    answer.mend(second, again(GOOD), {**USAGE, "prompt_tokens_details": {"cached_tokens": 25}})
    assert told_by(answer)["usage"] == {
        "prompt_tokens": 80,
        "completion_tokens": 34,
        "total_tokens": 114,
        "prompt_tokens_details": {"cached_tokens": 29},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }


@pytest.mark.parametrize(
    ("limits", "written", "asked"),
    [
        ({}, 150, {}),
        ({"max_tokens": 400}, 150, {"max_tokens": 250}),
        ({"max_tokens": 900, "max_completion_tokens": 400}, 150, {"max_tokens": 250, "max_completion_tokens": 250}),
        ({"max_completion_tokens": 160}, 150, {"max_completion_tokens": LEAST_TOKENS}),
        ({"max_tokens": LEAST_TOKENS - 1}, 60, {"max_tokens": LEAST_TOKENS - 1}),
        ({"max_tokens": 100, "n": 2}, 120, {"max_tokens": 80}),
        ({"max_tokens": 100, "n": 2}, 30, {"max_tokens": 100}),
    ],
)
async def test_a_second_question_may_write_what_the_first_has_left(
    limits: dict[str, int], written: int, asked: dict[str, int]
) -> None:
    answer = await calls_of(WholeAnswer(HEAD, AnswerWishes(has_tools=True)), [tool("f")])
    broken = piece("tool_calls", tool_calls=[*begun("f"), *went_on(BAD)])
    answer.feed({**broken, "usage": {"prompt_tokens": 20, "completion_tokens": written}})
    question = answer.question(answer.broken[0], {"tools": [tool("f")], **limits})
    assert {name: question[name] for name in ("max_tokens", "max_completion_tokens") if name in question} == asked
    assert (question["tool_choice"]["function"]["name"], question["n"]) == ("f", 1)


async def test_calls_that_were_asked_for_again_leave_less_to_the_next() -> None:
    answer = await calls_of(WholeAnswer(HEAD, AnswerWishes(has_tools=True)), [tool("f")])
    calls = [part for place in (0, 1) for part in (*begun("f", place), *went_on(BAD, place))]
    answer.feed({**piece("tool_calls", tool_calls=calls), "usage": {"prompt_tokens": 20, "completion_tokens": 100}})
    first, second = answer.broken
    assert answer.question(first, {"max_tokens": 200})["max_tokens"] == 100
    answer.mend(first, again(GOOD), USAGE)
    assert answer.question(second, {"max_tokens": 200})["max_tokens"] == 93
