from __future__ import annotations

import json
from typing import Any

from gateway.completions.gathered import GatheredChat
from jan.inference.v1 import jobs_pb2
from jan.type.v1.usage_pb2 import Usage

HEAD = {"id": "chatcmpl-1", "created": 5, "model": "m", "system_fingerprint": "fp_1"}


def gathered(*choices: dict[str, Any]) -> Any:
    chat = GatheredChat()
    for choice in choices:
        chunk = {**HEAD, "choices": [{"index": 0, "logprobs": None, "finish_reason": None, **choice}]}
        chat.hear(jobs_pb2.JobEvent(chunk=jobs_pb2.Chunk(data=json.dumps(chunk).encode())))
        assert not chat.is_complete
    usage = Usage(prompt_tokens=2, completion_tokens=3, cached_tokens=1)
    chat.hear(jobs_pb2.JobEvent(completed=jobs_pb2.Completed(finish_reason="stop", usage=usage)))
    return chat.whole()


def test_pieces_become_a_whole_answer() -> None:
    entry = {"token": "a", "logprob": -1, "bytes": None, "top_logprobs": []}
    assert gathered(
        {"delta": {"role": "assistant", "content": ""}},
        {"delta": {"reasoning_content": "hm"}},
        {"delta": {"content": "a"}, "logprobs": {"content": [entry], "refusal": None}},
        {"delta": {"content": "b"}, "logprobs": {"content": [entry], "refusal": None}},
        {"delta": {}, "finish_reason": "stop"},
    ) == {
        **HEAD,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "ab", "refusal": None, "reasoning_content": "hm"},
                "logprobs": {"content": [entry, entry], "refusal": None},
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 2,
            "completion_tokens": 3,
            "total_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 1},
        },
    }


def test_calls_are_put_together() -> None:
    answer = gathered(
        {"delta": {"role": "assistant", "content": None}},
        {
            "delta": {
                "tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}]
            }
        },
        {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}},
        {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}},
        {"delta": {}, "finish_reason": "tool_calls"},
    )
    message = answer["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


def test_a_function_of_2023_is_put_together() -> None:
    answer = gathered(
        {"delta": {"function_call": {"name": "f", "arguments": ""}}},
        {"delta": {"function_call": {"arguments": "{}"}}},
        {"delta": {}, "finish_reason": "function_call"},
    )
    assert answer["choices"][0]["message"]["function_call"] == {"name": "f", "arguments": "{}"}


def test_an_answer_that_ends_otherwise_is_none() -> None:
    chat = GatheredChat()
    chat.hear(jobs_pb2.JobEvent(cancelled=jobs_pb2.Cancelled()))
    assert not chat.is_complete
