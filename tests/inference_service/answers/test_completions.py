"""Text completions in OpenAI's exact form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inference_service.answers.completions import CompletionStream, CompletionWishes, WholeCompletion
from inference_service.answers.shapes import AnswerHead

HEAD = AnswerHead("cmpl-1", 1_700_000_000, "m")


def chunk(index: int, text: str, reason: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": "x", "choices": [{"index": index, "text": text, "finish_reason": reason, "token_ids": []}], **more}


def wishes(**request: Any) -> CompletionWishes:
    return CompletionWishes.of({"prompt": ["p"], **request})


def test_a_chunk_is_exactly_openais() -> None:
    (said,) = CompletionStream(HEAD, wishes()).feed(chunk(0, "Hi", timings={}))
    choice = {"index": 0, "text": "Hi", "logprobs": None, "finish_reason": None}
    assert json.loads(said) == {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [choice],
    }


def test_an_empty_piece_is_not_told_but_the_end_is() -> None:
    stream = CompletionStream(HEAD, wishes())
    assert stream.feed(chunk(0, "")) == []
    assert (stream.complete, stream.finish_reason) == (False, "")
    (said,) = stream.feed(chunk(0, "", "stop"))
    assert json.loads(said)["choices"][0]["finish_reason"] == "stop"
    assert (stream.complete, stream.finish_reason) == (True, "stop")
    assert stream.end() == []


def test_what_each_choice_cost_is_added_up_and_a_prompt_counts_once() -> None:
    """As llama.cpp tells it: with the end of each choice, two choices of two prompts."""
    stream = CompletionStream(HEAD, CompletionWishes.of({"prompt": ["a", "b"], "n": 2}))
    for index, prompt_tokens in enumerate((4, 4, 5, 5)):
        cost = {"prompt_tokens": prompt_tokens, "completion_tokens": 3}
        stream.feed(chunk(index, "", "length", usage=cost))
    assert stream.complete
    assert (stream.usage.prompt_tokens, stream.usage.completion_tokens) == (9, 12)


def test_a_prompt_is_repeated_once_before_each_of_its_choices() -> None:
    request = {"prompt": ["a", "b"], "n": 2}
    whole = WholeCompletion(HEAD, CompletionWishes.of(request, ["a", "b"]))
    for index in range(4):
        whole.feed(chunk(index, "1"))
        whole.feed(chunk(index, "2", "stop"))
    (data,) = whole.end()
    assert [choice["text"] for choice in json.loads(data)["choices"]] == ["a12", "a12", "b12", "b12"]


def test_log_probabilities_nobody_asked_for_are_left_out() -> None:
    told = {"tokens": ["a"], "token_logprobs": [-1], "top_logprobs": [{}], "text_offset": [0]}
    answer = {"choices": [{"index": 0, "text": "a", "logprobs": told, "finish_reason": "stop"}]}
    for most, logprobs in ((None, None), (1, told)):
        whole = WholeCompletion(HEAD, wishes(logprobs=most))
        whole.feed(answer)
        assert json.loads(whole.end()[0])["choices"][0]["logprobs"] == logprobs


@pytest.mark.parametrize("said", [{}, {"choices": [{"index": 0}]}, {"choices": None}, []])
def test_what_is_no_completion_is_noticed(said: Any) -> None:
    with pytest.raises((KeyError, TypeError, AttributeError)):
        WholeCompletion(HEAD, wishes()).feed(said)


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_an_answer_that_may_have_no_token_has_none(reason: str) -> None:
    """llama.cpp and vLLM write one; only vLLM's echo, which is asked for without an echo of ours, is text to keep."""
    cost = {"prompt_tokens": 4, "completion_tokens": 1}
    for request, echo, text in (({}, (), ""), ({"echo": True}, ["p"], "p"), ({"echo": True}, (), "pX")):
        whole = WholeCompletion(HEAD, CompletionWishes.of({"prompt": ["p"], "max_tokens": 0, **request}, echo))
        whole.feed(chunk(0, "pX" if request and not echo else "X", reason, usage=cost))
        (said,) = whole.end()
        (choice,) = json.loads(said)["choices"]
        assert (choice["text"], choice["finish_reason"], whole.finish_reason) == (text, "length", "length")
        assert json.loads(said)["usage"] == {"prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4}
