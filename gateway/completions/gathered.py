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
class _Function:
    """A call's function, in the pieces that came: joined once, since a chat may be megabytes long."""

    name: str = ""
    arguments: list[str] = field(default_factory=list)

    def hear(self, delta: Mapping[str, Any]) -> None:
        """Take in what a chunk says of it."""
        self.name = self.name or delta.get("name") or ""
        self.arguments.append(delta.get("arguments") or "")

    def whole(self) -> JsonObject:
        """OpenAI's object."""
        return {"name": self.name, "arguments": "".join(self.arguments)}


@dataclass(slots=True)
class _Choice:
    """One choice as far as it was heard, in pieces."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    calls: dict[int, tuple[str | None, _Function]] = field(default_factory=dict)
    function: _Function | None = None
    logprobs: dict[str, list[Any] | None] | None = None
    finish_reason: str | None = None

    def hear(self, choice: Mapping[str, Any]) -> None:
        """Take in what a chunk says of this choice."""
        delta = choice["delta"]
        for name in _TEXTS:
            if delta.get(name) is not None:
                self.texts.setdefault(name, []).append(delta[name])
        for call in delta.get("tool_calls", ()):
            self.calls.setdefault(call["index"], (call.get("id"), _Function()))[1].hear(call["function"])
        if (function := delta.get("function_call")) is not None:
            self.function = self.function or _Function()
            self.function.hear(function)
        for name, entries in (choice.get("logprobs") or {}).items():
            self._hear_logprobs(name, entries)
        self.finish_reason = choice["finish_reason"] or self.finish_reason

    def _hear_logprobs(self, name: str, entries: list[Any] | None) -> None:
        told = self.logprobs = self.logprobs or {"content": None, "refusal": None}
        if entries is not None:
            told[name] = heard = told.get(name) or []
            heard += entries

    def whole(self, index: int) -> JsonObject:
        """The choice of a whole answer."""
        message: JsonObject = {"role": "assistant", "content": self._text("content"), "refusal": self._text("refusal")}
        if "reasoning_content" in self.texts:
            message["reasoning_content"] = self._text("reasoning_content")
        if self.calls:
            message["tool_calls"] = [
                {"id": call_id, "type": "function", "function": function.whole()}
                for _, (call_id, function) in sorted(self.calls.items())
            ]
        if self.function is not None:
            message["function_call"] = self.function.whole()
        return {"index": index, "message": message, "logprobs": self.logprobs, "finish_reason": self.finish_reason}

    def _text(self, name: str) -> str | None:
        pieces = self.texts.get(name)
        return None if pieces is None else "".join(pieces)


class GatheredChat:
    """Feed it each event of a chat's job, in order."""

    def __init__(self) -> None:
        """Nothing was heard yet."""
        self.heard_bytes = 0
        self._head: JsonObject = {}
        self._choices: dict[int, _Choice] = {}
        self._completed: jobs_pb2.Completed | None = None

    @property
    def is_complete(self) -> bool:
        """Whether it has ended with its answer."""
        return self._completed is not None

    def hear(self, event: jobs_pb2.JobEvent) -> None:
        """Take in what the job says next."""
        match event.WhichOneof("event"):
            case "chunk":
                self.heard_bytes += len(event.chunk.data)
                self._hear_chunk(orjson.loads(event.chunk.data))
            case "completed":
                self._completed = event.completed

    def whole(self) -> JsonObject:
        """The whole answer of a complete chat, put together anew each time."""
        assert self._completed is not None
        choices = [choice.whole(index) for index, choice in sorted(self._choices.items())]
        return {**self._head, "object": "chat.completion", "choices": choices, "usage": _usage(self._completed)}

    def _hear_chunk(self, chunk: Mapping[str, Any]) -> None:
        self._head = self._head or {name: chunk[name] for name in _HEAD if name in chunk}
        for choice in chunk["choices"]:
            self._choices.setdefault(choice["index"], _Choice()).hear(choice)


def _usage(completed: jobs_pb2.Completed) -> JsonObject:
    usage = completed.usage
    details = {field.name: count for field, count in usage.completion_tokens_details.ListFields()}
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        **({"completion_tokens_details": details} if details else {}),
    }
