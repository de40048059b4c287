from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from inference_service.answers.chunks import ChunkStream
from inference_service.answers.shapes import AnswerHead, AnswerWishes

HEAD = AnswerHead("chatcmpl-1", 1_700_000_000, "model-1")


def chunk(delta: Mapping[str, Any], reason: str | None = None, index: int = 0, **choice: Any) -> dict[str, Any]:
    choices = [{"index": index, "delta": delta, "finish_reason": reason, **choice}]
    return {
        "id": "x",
        "created": 5,
        "model": "inner",
        "choices": choices,
        "timings": {"n": 1},
        "system_fingerprint": "b",
    }


def run(*chunks: dict[str, Any], **wishes: Any) -> list[dict[str, Any]]:
    stream = ChunkStream(HEAD, AnswerWishes(**wishes))
    said = [data for one in chunks for data in stream.feed(one)]
    return [json.loads(data) for data in said + stream.end()]


def deltas(said: list[dict[str, Any]]) -> list[Any]:
    return [choice["delta"] for one in said for choice in one["choices"]]


def test_llamacpp_accent() -> None:
    said = run(chunk({"role": "assistant", "content": None}), chunk({"content": "Hi"}), chunk({}, "stop"))
    assert said[1] == {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "model-1",
        "choices": [{"index": 0, "delta": {"content": "Hi"}, "logprobs": None, "finish_reason": None}],
    }
    assert deltas(said) == [{"role": "assistant", "content": ""}, {"content": "Hi"}, {}]
    assert [one["choices"][0]["finish_reason"] for one in said] == [None, None, "stop"]


def test_the_role_comes_once_and_first() -> None:
    said = run(chunk({"role": "assistant", "content": "a"}), chunk({"role": "assistant", "content": "b"}, "stop"))
    assert deltas(said) == [{"role": "assistant", "content": ""}, {"content": "a"}, {"content": "b"}, {}]


def test_an_answer_without_words_has_role_and_end() -> None:
    assert deltas(run(chunk({}, "stop"))) == [{"role": "assistant", "content": ""}, {}]


def test_an_end_is_said_once() -> None:
    said = run(chunk({"content": "a"}, "stop"), chunk({}, "stop"), chunk({"content": "late"}))
    assert [one["choices"][0]["finish_reason"] for one in said] == [None, None, "stop"]


def test_usage_comes_last_and_is_null_before() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}}
    said = run(chunk({"content": "a"}), {**chunk({}, "stop"), "usage": usage}, include_usage=True)
    assert [one["usage"] for one in said[:-1]] == [None] * 3
    assert said[-1]["choices"] == []
    assert said[-1]["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 1,
        "total_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 2},
    }


def test_what_was_written_is_broken_down_as_far_as_the_engine_says() -> None:
    told = {"reasoning_tokens": 3, "audio_tokens": 0, "rejected_prediction_tokens": "many", "text_tokens": 1}
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "completion_tokens_details": told}
    said = run(chunk({"content": "a"}), {**chunk({}, "stop"), "usage": usage}, include_usage=True)
    assert said[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 3, "audio_tokens": 0}


def test_usage_is_absent_when_nobody_asked() -> None:
    said = run(chunk({"content": "a"}), {**chunk({}, "stop"), "usage": {"prompt_tokens": 3, "completion_tokens": 1}})
    assert all("usage" not in one for one in said)


def test_usage_of_several_choices_is_added_up_and_the_prompt_counted_once() -> None:
    stream = ChunkStream(HEAD, AnswerWishes(n=2))
    for index in (1, 0):
        stream.feed(chunk({"content": "a"}, index=index))
        stream.feed(chunk({}, "length", index=index))
        stream.feed({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}})
    assert (stream.usage.prompt_tokens, stream.usage.completion_tokens) == (7, 10)
    assert stream.complete


def test_an_answer_is_complete_when_each_choice_has_ended() -> None:
    stream = ChunkStream(HEAD, AnswerWishes(n=2))
    complete = []
    for one in (chunk({"content": "a"}), chunk({}, "stop"), chunk({}, "length", index=1)):
        stream.feed(one)
        complete.append(stream.complete)
    assert complete == [False, False, True]
    assert stream.finish_reason == "stop"


def test_log_probabilities_keep_openais_keys_only() -> None:
    entry = {"id": 9, "token": "a", "logprob": -0.5, "bytes": [97]}
    logprobs = {"content": [{**entry, "top_logprobs": [entry, entry]}]}
    said = run(chunk({"content": "a"}, logprobs=logprobs), chunk({}, "stop"), logprobs=True, top_logprobs=1)
    plain = {"token": "a", "logprob": -0.5, "bytes": [97]}
    assert said[1]["choices"][0]["logprobs"] == {"content": [{**plain, "top_logprobs": [plain]}], "refusal": None}
    assert said[2]["choices"][0]["logprobs"] is None


def test_log_probabilities_nobody_asked_for_are_left_out() -> None:
    said = run(chunk({"content": "a"}, logprobs={"content": [{"token": "a", "logprob": 0}]}))
    assert said[1]["choices"][0]["logprobs"] is None


def test_a_tool_call_names_itself_and_then_only_brings_arguments() -> None:
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a'}}
    more = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '":1}'}}
    said = run(
        chunk({"role": "assistant", "content": None}),
        chunk({"tool_calls": [first]}),
        chunk({"tool_calls": [more]}),
        chunk({}, "tool_calls"),
        has_tools=True,
    )
    named = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
    assert deltas(said) == [
        {"role": "assistant", "content": None},
        {"tool_calls": [named]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '":1}'}}]},
        {},
    ]


def test_text_despite_tools_begins_with_empty_content() -> None:
    said = run(chunk({"role": "assistant", "content": ""}), chunk({"content": "no"}), has_tools=True)
    assert deltas(said) == [{"role": "assistant", "content": ""}, {"content": "no"}]


def test_thoughts_and_refusals_are_kept() -> None:
    said = run(chunk({"reasoning_content": "hm"}), chunk({"refusal": "no"}))
    assert deltas(said)[1:] == [{"reasoning_content": "hm"}, {"refusal": "no"}]


def test_any_text_survives() -> None:
    text = 'quote " back \\ line\n nul \0 smile \U0001f600'
    assert deltas(run(chunk({"content": text})))[1] == {"content": text}


@pytest.mark.parametrize("wrong", [{}, {"choices": [{}]}, {"choices": None}, {"choices": [{"index": 0, "delta": "x"}]}])
def test_what_is_no_chunk_raises(wrong: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, AttributeError)):
        run(wrong)


def test_parallel_calls_keep_their_places() -> None:
    """Their pieces come mixed, as several calls of one answer may; each delta says which it belongs to."""
    begun = [
        {"index": place, "id": f"c{place}", "type": "function", "function": {"name": f"f{place}", "arguments": ""}}
        for place in (0, 1)
    ]
    pieces = [(1, '{"b'), (0, '{"a"'), (1, '":2}'), (0, ":1}")]
    said = run(
        chunk({"tool_calls": begun}),
        *(chunk({"tool_calls": [{"index": place, "function": {"arguments": text}}]}) for place, text in pieces),
        chunk({}, "tool_calls"),
    )
    told = [call for delta in deltas(said) for call in delta.get("tool_calls") or ()]
    for place, arguments in ((0, '{"a":1}'), (1, '{"b":2}')):
        mine = [call for call in told if call["index"] == place]
        assert [call["id"] for call in mine if call.get("id")] == [f"c{place}"]
        assert "".join(call["function"]["arguments"] for call in mine) == arguments
    assert said[-1]["choices"][0]["finish_reason"] == "tool_calls"


TWO_CALLS = [
    {"index": place, "id": f"call_{place}", "function": {"name": name, "arguments": "{}"}}
    for place, name in enumerate(("f", "g"))
]


def test_only_the_first_call_is_told_when_one_is_wanted() -> None:
    said = run(chunk({"tool_calls": TWO_CALLS}), chunk({}, "tool_calls"), has_tools=True, one_call=True)
    assert [call["index"] for delta in deltas(said) for call in delta.get("tool_calls", ())] == [0, 0]


def test_a_call_is_told_as_functions_were() -> None:
    wishes = AnswerWishes.of({"tools": [{}], "answers_functions": True, "parallel_tool_calls": False})
    stream = ChunkStream(HEAD, wishes)
    said = [
        json.loads(data)
        for one in (chunk({"tool_calls": TWO_CALLS}), chunk({}, "tool_calls"))
        for data in stream.feed(one)
    ]
    assert deltas(said) == [
        {"role": "assistant", "content": None},
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": "{}"}},
        {},
    ]
    assert said[-1]["choices"][0]["finish_reason"] == "function_call"


def test_the_head_tells_fingerprint_and_tier_where_there_are_any() -> None:
    stream = ChunkStream(AnswerHead("c", 1, "m", "fp_1", "flex"), AnswerWishes())
    said = json.loads(stream.feed(chunk({"content": "a"}))[0])
    assert (said["system_fingerprint"], said["service_tier"]) == ("fp_1", "flex")
