"""The parts that a streamed and a whole answer share: who it is from, what was asked, log probabilities, usage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import orjson

from jan.type.v1.usage_pb2 import CompletionTokensDetails

# As many as the wire can say.
_MOST_TOKENS: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """The values that name an answer, the same in every chunk of it.

    `created` is in seconds since the epoch; `model` is the id the client asked for, never the engine's own name for it.
    The last two are left out where there is nothing to say.
    """

    id: str
    created: int
    model: str
    system_fingerprint: str | None = None
    service_tier: str | None = None

    def json_prefix(self, object_type: str) -> bytes:
        """The opening of the answer's JSON object, without the closing brace, ready for more keys."""
        opening = {"id": self.id, "object": object_type, "created": self.created, "model": self.model}
        for name in ("system_fingerprint", "service_tier"):
            if (value := getattr(self, name)) is not None:
                opening[name] = value
        return orjson.dumps(opening)[:-1]


@dataclass(frozen=True, slots=True)
class AnswerWishes:
    """What the request said about the form of its answer; absent and null mean OpenAI's default.

    one_call: of several calls only the first is told. are_functions: calls are told as `function_call`, as they were
    before there were tools.
    """

    n: int = 1
    include_usage: bool = False
    logprobs: bool = False
    top_logprobs: int = 0
    has_tools: bool = False
    one_call: bool = False
    are_functions: bool = False

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Self:
        """Read the wishes out of a chat request that the gateway has validated."""
        return cls(
            n=request.get("n") or 1,
            include_usage=bool((request.get("stream_options") or {}).get("include_usage")),
            logprobs=bool(request.get("logprobs")),
            top_logprobs=request.get("top_logprobs") or 0,
            has_tools=bool(request.get("tools")),
            one_call=request.get("parallel_tool_calls") is False,
            are_functions=bool(request.get("answers_functions")),
        )

    def told(self, calls: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Those of an answer's calls, or of the pieces of some, that the client is told of."""
        return [call for call in calls if not call.get("index")] if self.one_call else calls

    def reason(self, finish_reason: str) -> str:
        """Why an answer ended, in the words of its time."""
        return "function_call" if self.are_functions and finish_reason == "tool_calls" else finish_reason


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written.

    `cached_tokens` is the part of the prompt that the engine remembered; None when it does not say. details: OpenAI's
    breakdown of what was written, as far as it says.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = None
    details: Mapping[str, int] = field(default_factory=dict)

    def plus(self, usage: Mapping[str, Any]) -> Usage:
        """Add one engine's `usage` object.

        llama.cpp sends one per choice (n > 1), each with the same prompt, which OpenAI counts once.
        """
        details = usage.get("prompt_tokens_details") or {}
        cached = details.get("cached_tokens")
        return Usage(
            prompt_tokens=max(self.prompt_tokens, usage.get("prompt_tokens") or 0),
            completion_tokens=self.completion_tokens + (usage.get("completion_tokens") or 0),
            cached_tokens=self.cached_tokens if cached is None else max(cached, self.cached_tokens or 0),
            details=summed([self.details, _details_of(usage)]),
        )

    def as_json(self) -> dict[str, Any]:
        """OpenAI's `usage` object."""
        value: dict[str, Any] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }
        if self.cached_tokens is not None:
            value["prompt_tokens_details"] = {"cached_tokens": self.cached_tokens}
        if self.details:
            value["completion_tokens_details"] = {**self.details}
        return value


def summed(details: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Breakdowns of several answers as one."""
    total: Counter[str] = Counter()
    for one in details:
        total.update(one)
    return {**total}


def _details_of(usage: Mapping[str, Any]) -> dict[str, int]:
    """What a remote server says may be anything."""
    told = usage.get("completion_tokens_details")
    if not isinstance(told, Mapping):
        return {}
    counts = {name: told.get(name) for name in CompletionTokensDetails.DESCRIPTOR.fields_by_name}
    return {name: count for name, count in counts.items() if type(count) is int and 0 <= count <= _MOST_TOKENS}


NO_USAGE: Final = Usage()


def delta_of(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a chunk adds to a choice."""
    return with_reasoning_content(choice.get("delta") or {})


def with_reasoning_content(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """A delta or message with its thoughts under the name that clients read; vLLM calls them `reasoning`."""
    if not said.get("reasoning") or said.get("reasoning_content"):
        return said
    return {**said, "reasoning_content": said["reasoning"]}


def logprobs_of(logprobs: Mapping[str, Any] | None, top: int) -> dict[str, Any] | None:
    """An engine's log probabilities as OpenAI's object: both keys, token entries without engine extras.

    At most `top` alternatives stay per token, the likeliest first: llama.cpp gives twenty when none were asked for, and
    vLLM begins with the chosen token, however unlikely.
    """
    if not logprobs:
        return None
    return {key: _entries(logprobs.get(key), top) for key in ("content", "refusal")}


def _entries(entries: list[Mapping[str, Any]] | None, top: int) -> list[dict[str, Any]] | None:
    if entries is None:
        return None
    return [{**_entry(entry), "top_logprobs": [_entry(t) for t in _alternatives(entry, top)]} for entry in entries]


def _alternatives(entry: Mapping[str, Any], top: int) -> list[Mapping[str, Any]]:
    return sorted(entry.get("top_logprobs") or [], key=lambda one: -one["logprob"])[:top]


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"token": entry["token"], "logprob": entry["logprob"], "bytes": entry.get("bytes")}
