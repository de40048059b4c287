"""A streamed chat gathered into the whole `chat.completion` that it would have been. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.schemas.common import JsonObject
from jan.inference.v1 import jobs_pb2

_TEXTS = ("content", "refusal", "reasoning_content")
_HEAD = ("id", "created", "model", "system_fingerprint", "service_tier")


@dataclass(slots=True)
class _Choice:
    """One choice as far as it was heard."""

    texts: dict[str, str] = field(default_factory=dict)
    calls: dict[int, JsonObject] = field(default_factory=dict)
    function: JsonObject | None = None
    logprobs: JsonObject | None = None
    finish_reason: str | None = None

    def hear(self, choice: Mapping[str, Any]) -> None:
        """Take in what a chunk says of this choice."""
        delta = choice["delta"]
        for name in _TEXTS:
            if delta.get(name) is not None:
                self.texts[name] = self.texts.get(name, "") + delta[name]
        for call in delta.get("tool_calls", ()):
            self._hear_call(call)
        if (function := delta.get("function_call")) is not None:
            self.function = _joined(self.function, function)
        for name, entries in (choice.get("logprobs") or {}).items():
            told = self.logprobs = self.logprobs or {"content": None, "refusal": None}
            told[name] = [*(told[name] or ()), *entries] if entries is not None else told[name]
        self.finish_reason = choice["finish_reason"] or self.finish_reason

    def _hear_call(self, delta: Mapping[str, Any]) -> None:
        call = self.calls.setdefault(delta["index"], {"id": delta.get("id"), "type": "function", "function": None})
        call["function"] = _joined(call["function"], delta["function"])

    def whole(self, index: int) -> JsonObject:
        """The choice of a whole answer."""
        message: JsonObject = {
            "role": "assistant",
            "content": self.texts.get("content"),
            "refusal": self.texts.get("refusal"),
        }
        if "reasoning_content" in self.texts:
            message["reasoning_content"] = self.texts["reasoning_content"]
        if self.calls:
            message["tool_calls"] = [self.calls[place] for place in sorted(self.calls)]
        if self.function is not None:
            message["function_call"] = self.function
        return {"index": index, "message": message, "logprobs": self.logprobs, "finish_reason": self.finish_reason}


class GatheredChat:
    """Feed it each event of a chat's job, in order."""

    def __init__(self) -> None:
        """Nothing was heard yet."""
        self._head: JsonObject = {}
        self._choices: dict[int, _Choice] = {}

    def hear(self, event: jobs_pb2.JobEvent) -> JsonObject | None:
        """The whole answer once it is complete; None before that, and for one that ends otherwise."""
        match event.WhichOneof("event"):
            case "chunk":
                self._hear_chunk(orjson.loads(event.chunk.data))
            case "completed":
                return self._whole(event.completed)
        return None

    def _hear_chunk(self, chunk: Mapping[str, Any]) -> None:
        self._head = self._head or {name: chunk[name] for name in _HEAD if name in chunk}
        for choice in chunk["choices"]:
            self._choices.setdefault(choice["index"], _Choice()).hear(choice)

    def _whole(self, completed: jobs_pb2.Completed) -> JsonObject:
        choices = [choice.whole(index) for index, choice in sorted(self._choices.items())]
        return {**self._head, "object": "chat.completion", "choices": choices, "usage": _usage(completed)}


def _joined(before: JsonObject | None, delta: Mapping[str, Any]) -> JsonObject:
    if before is None:
        return {"name": delta.get("name", ""), "arguments": delta.get("arguments", "")}
    return {**before, "arguments": before["arguments"] + delta.get("arguments", "")}


def _usage(completed: jobs_pb2.Completed) -> JsonObject:
    usage = completed.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
