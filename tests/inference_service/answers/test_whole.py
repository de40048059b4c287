from __future__ import annotations

import json
from typing import Any

from inference_service.answers.shapes import AnswerHead, AnswerWishes
from inference_service.answers.whole import WholeAnswer, rewrite_whole

HEAD = AnswerHead("chatcmpl-1", 1_700_000_000, "model-1")


def gather(*choices: dict[str, Any], **wishes: Any) -> Any:
    answer = WholeAnswer(HEAD, AnswerWishes(**wishes))
    for choice in choices:
        assert answer.feed({"choices": [{"index": 0, "finish_reason": None, **choice}]}) == []
    answer.feed({"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 3}})
    assert answer.complete
    return json.loads(answer.end()[0])


def test_gathers_text() -> None:
    pieces = (
        {"delta": {"role": "assistant", "content": None}},
        {"delta": {"content": "a"}},
        {"delta": {"content": "b"}},
    )
    assert gather(*pieces, {"delta": {}, "finish_reason": "stop"}) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "model-1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "ab", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5},
    }


def test_an_answer_without_words_is_an_empty_text() -> None:
    assert gather({"delta": {}, "finish_reason": "stop"})["choices"][0]["message"]["content"] == ""


def test_gathers_tool_calls() -> None:
    calls = [
        {"index": 0, "id": "call_1", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"a"'}},
        {"index": 0, "function": {"arguments": ":1}"}},
    ]
    answer = gather(*({"delta": {"tool_calls": [call]}} for call in calls), {"finish_reason": "tool_calls"})
    assert answer["choices"][0]["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
    }


def test_gathers_log_probabilities() -> None:
    entry = {"token": "a", "logprob": -1.0, "bytes": None, "top_logprobs": []}
    spoken = {"delta": {"content": "a"}, "logprobs": {"content": [entry]}}
    cut = {"delta": {"role": "assistant", "content": None}, "logprobs": {"content": [{**entry, "token": "```"}]}}
    answer = gather(cut, spoken, spoken, {"finish_reason": "stop"}, logprobs=True)
    assert answer["choices"][0]["logprobs"] == {"content": [entry, entry], "refusal": None}


def test_rewrites_an_engines_own_answer() -> None:
    message = {"role": "assistant", "content": "hi", "audio": None, "reasoning": "x"}
    said = {
        "id": "x",
        "model": "inner",
        "prompt_logprobs": None,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "stop_reason": 7}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5},
    }
    data, finish_reason, usage = rewrite_whole(said, HEAD, AnswerWishes())
    answer = json.loads(data)
    assert set(answer) == {"id", "object", "created", "model", "choices", "usage"}
    assert answer["choices"][0]["message"] == {
        "role": "assistant",
        "content": "hi",
        "refusal": None,
        "reasoning_content": "x",
    }
    assert (finish_reason, usage.completion_tokens) == ("stop", 3)


TWO_CALLS = [
    {"index": place, "id": f"call_{place}", "function": {"name": name, "arguments": "{}"}}
    for place, name in enumerate(("f", "g"))
]


def test_only_the_first_call_is_told_when_one_is_wanted() -> None:
    answer = gather({"delta": {"tool_calls": TWO_CALLS}}, {"finish_reason": "tool_calls"}, one_call=True)
    [call] = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "f"


def test_a_call_is_told_as_functions_were() -> None:
    answer = gather({"delta": {"tool_calls": TWO_CALLS}}, {"finish_reason": "tool_calls"}, are_functions=True)
    [choice] = answer["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "function_call": {"name": "f", "arguments": "{}"},
    }
    assert choice["finish_reason"] == "function_call"
