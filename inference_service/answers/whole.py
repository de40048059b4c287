"""A whole `chat.completion` in OpenAI's exact form, out of an engine's chunks or out of its own whole answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from inference_service.answers.shapes import (
    NO_USAGE,
    AnswerHead,
    AnswerWishes,
    Usage,
    delta_of,
    logprobs_of,
    with_reasoning_content,
)

_SAID: Final = ("content", "refusal", "reasoning_content", "tool_calls")
"""Tokens of a chunk with none of these are not in the answer: llama.cpp cuts the fence that models put around JSON."""


@dataclass(slots=True)
class _Choice:
    """One choice as far as it was heard."""

    content: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    logprobs: list[Mapping[str, Any]] = field(default_factory=list)
    finish_reason: str | None = None

    def as_choice(self, index: int) -> dict[str, Any]:
        """The choice as an engine would have said it at once."""
        message: dict[str, Any] = {
            "content": "".join(self.content) if self.content or not self.calls else None,
            "refusal": "".join(self.refusal) or None,
            "reasoning_content": "".join(self.reasoning) or None,
            "tool_calls": [self.calls[key] for key in sorted(self.calls)],
        }
        logprobs = {"content": self.logprobs} if self.logprobs else None
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": self.finish_reason}


class WholeAnswer:
    """Gathers a streamed answer into one object.

    llama.cpp goes on writing a whole answer after its connection was closed, but stops a streamed one at once; so whole
    answers are streamed from it too, and gathered here.
    """

    __slots__ = ("_choices", "_head", "_wishes", "usage")

    def __init__(self, head: AnswerHead, wishes: AnswerWishes) -> None:
        """`head` names the answer; `wishes` say what the client asked to see."""
        self._head = head
        self._wishes = wishes
        self._choices: dict[int, _Choice] = {}
        self.usage = NO_USAGE

    def feed(self, chunk: Mapping[str, Any]) -> list[bytes]:
        """Take in one engine chunk. Nothing leaves before the end, so the list is always empty."""
        if chunk.get("usage"):
            self.usage = self.usage.plus(chunk["usage"])
        for choice in chunk["choices"]:
            _gather(self._choices.setdefault(choice["index"], _Choice()), choice)
        return []

    def end(self) -> list[bytes]:
        """The one finished `chat.completion`."""
        choices = [choice.as_choice(index) for index, choice in sorted(self._choices.items())]
        return [_completion(self._head, self._wishes, choices, self.usage)]

    @property
    def complete(self) -> bool:
        """Whether every choice that was asked for has its finish_reason."""
        return sum(1 for choice in self._choices.values() if choice.finish_reason) >= self._wishes.n

    @property
    def finish_reason(self) -> str:
        """The reason the first choice ended; "" while it has not."""
        first = self._choices.get(0)
        return (first.finish_reason if first else None) or ""


def rewrite_whole(answer: Mapping[str, Any], head: AnswerHead, wishes: AnswerWishes) -> tuple[bytes, str, Usage]:
    """An engine's own whole answer as (OpenAI's JSON, finish_reason of the first choice, usage)."""
    usage = NO_USAGE.plus(answer.get("usage") or {})
    choices = answer["choices"]
    return _completion(head, wishes, choices, usage), choices[0]["finish_reason"], usage


def _gather(state: _Choice, choice: Mapping[str, Any]) -> None:
    delta = delta_of(choice)
    for key, pieces in (("content", state.content), ("refusal", state.refusal), ("reasoning_content", state.reasoning)):
        if delta.get(key):
            pieces.append(delta[key])
    for call in delta.get("tool_calls") or ():
        _gather_call(state.calls, call)
    if any(delta.get(key) for key in _SAID):
        state.logprobs.extend((choice.get("logprobs") or {}).get("content") or ())
    state.finish_reason = choice.get("finish_reason") or state.finish_reason


def _gather_call(calls: dict[int, dict[str, Any]], delta: Mapping[str, Any]) -> None:
    function = delta.get("function") or {}
    call = calls.get(delta.get("index", 0))
    if call is None:
        named = {"name": function.get("name", ""), "arguments": ""}
        call = calls[delta.get("index", 0)] = {"id": delta["id"], "type": "function", "function": named}
    call["function"]["arguments"] += function.get("arguments") or ""


def _completion(head: AnswerHead, wishes: AnswerWishes, choices: list[dict[str, Any]], usage: Usage) -> bytes:
    body = {"choices": [_choice(choice, wishes) for choice in choices], "usage": usage.as_json()}
    return head.json_prefix("chat.completion") + b"," + orjson.dumps(body)[1:]


def _choice(choice: Mapping[str, Any], wishes: AnswerWishes) -> dict[str, Any]:
    message = with_reasoning_content(choice["message"])
    answer = {"role": "assistant", "content": message.get("content"), "refusal": message.get("refusal")}
    if message.get("reasoning_content"):
        answer["reasoning_content"] = message["reasoning_content"]
    if message.get("tool_calls"):
        answer |= _calls(message["tool_calls"], wishes)
    return {
        "index": choice["index"],
        "message": answer,
        "logprobs": logprobs_of(choice.get("logprobs"), wishes.top_logprobs) if wishes.logprobs else None,
        "finish_reason": wishes.reason(choice["finish_reason"]),
    }


def _calls(calls: list[dict[str, Any]], wishes: AnswerWishes) -> dict[str, Any]:
    if wishes.are_functions:
        return {"function_call": calls[0]["function"]}
    return {"tool_calls": calls[:1] if wishes.one_call else calls}
