"""Going on with an answer that another attempt began: what was said, how the rest is asked for and told. Pure.

Only plain text goes on: one choice, no log probabilities, no tools, nothing that an engine has to obey to the letter.
The tokens of what was said count as the answer's: they are taken off `max_tokens` and added to the usage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from inference_service.answers.answer import Answer, PassedOn
from jan.inference.v1 import jobs_pb2

CHAT_FIELDS: Final = ("continue_final_message", "add_generation_prompt")
"""How vLLM and llama.cpp are told to go on with the last message. Ours: never passed on from a client."""


def is_plain(request: Mapping[str, Any]) -> bool:
    """Whether the answer to a chat or completion request is text that somebody else could go on with."""
    logprobs = request.get("logprobs")
    # For a completion 0 asks for those of the chosen tokens.
    if (request.get("n") or 1) != 1 or (logprobs is not None and logprobs is not False):
        return False
    if "prompt" in request:
        return len(request["prompt"]) == 1 and isinstance(request["prompt"][0], str)
    constrained = (request.get("response_format") or {}).get("type", "text") != "text"
    return not constrained and (not request.get("tools") or request.get("tool_choice") == "none")


def text_of(events: Iterable[jobs_pb2.JobEvent]) -> str | None:
    """The text that the chunks of one choice hold; None if they hold anything else, such as thoughts or an end."""
    pieces: list[str] = []
    for event in events:
        if not event.HasField("chunk"):
            return None
        choices = orjson.loads(event.chunk.data)["choices"]
        if len(choices) != 1 or choices[0]["finish_reason"] is not None:
            return None
        said = choices[0].get("delta") or {"content": choices[0].get("text")}
        if not said.keys() <= {"role", "content"} or not isinstance(said.get("content"), str):
            return None
        pieces.append(said["content"])
    return "".join(pieces)


def keeps(template: str, said: str) -> bool:
    """Whether a chat template writes the beginning of an answer as it is, with the spaces at its end.

    Many trim what was said, and a model that goes on from there writes the space again.
    """
    return said == said.rstrip() or not any(word in template for word in ("trim", "strip("))


def without_echo(text: str, request: Mapping[str, Any]) -> str | None:
    """The text that was said, less the prompt that it repeats if that was asked for; None if it does not."""
    if not request.get("echo"):
        return text
    prompt: str = request["prompt"][0]
    return text.removeprefix(prompt) if text.startswith(prompt) else None


@dataclass(frozen=True, slots=True)
class Begun:
    """What was said of an answer: its text, without an echo of the prompt, and the tokens of that text.

    is_echoed: the prompt, if it was to be repeated, was told: before the text, or alone. prefill: what the client wrote
    of the answer, in front of all that; it counts as prompt, and is not told.
    """

    text: str
    tokens: int
    is_echoed: bool = True
    prefill: str = ""

    def request(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The request for the rest of the answer.

        Where nothing is left to say one token is asked for, since engines refuse to write none; `ContinuedAnswer`
        drops it.
        """
        if not self.text and not self.prefill:
            return {**request, "echo": False} if self.is_echoed and request.get("echo") else request
        left = {
            name: max(1, request[name] - self.tokens)
            for name in ("max_tokens", "max_completion_tokens")
            if request.get(name) is not None
        }
        if "prompt" in request:
            return {**request, **left, "prompt": [request["prompt"][0] + self.text], "echo": False}
        messages = [*request["messages"], {"role": "assistant", "content": self.prefill + self.text}]
        return {**request, **left, "messages": messages, "continue_final_message": True, "add_generation_prompt": False}

    def read_by(self, answer: Answer, request: Mapping[str, Any]) -> Answer:
        """What is to be fed with the engine's chunks; `answer` knows that its beginning was told."""
        if not self.text:
            return answer
        limit = request.get("max_completion_tokens") or request.get("max_tokens")
        return ContinuedAnswer(answer, self, is_whole=limit is not None and self.tokens >= limit)


NOTHING: Final = Begun("", 0, is_echoed=False)

ECHO: Final = Begun("", 0)
"""Something was told, but no word of the answer: the echo of a prompt, or a role."""


class ContinuedAnswer(PassedOn):
    """The rest of an answer, told to `inner` with the usage of the whole."""

    __slots__ = ("_begun", "_counted", "_is_whole")

    def __init__(self, inner: Answer, begun: Begun, *, is_whole: bool) -> None:
        """`inner` knows that it does not begin; `is_whole` says that nothing more may be told than the end."""
        super().__init__(inner)
        self._begun = begun
        self._is_whole = is_whole
        self._counted = False

    def feed(self, chunk: Mapping[str, Any]) -> list[bytes]:
        """See `Answer.feed`."""
        changes: dict[str, Any] = {}
        if chunk.get("usage"):
            changes["usage"] = self._whole_usage(chunk["usage"])
        if self._is_whole:
            changes["choices"] = [_only_the_end(choice) for choice in chunk["choices"]]
        return self._inner.feed({**chunk, **changes} if changes else chunk)

    def _whole_usage(self, usage: Mapping[str, Any]) -> dict[str, Any]:
        """An engine that goes on counts what was said as prompt."""
        written = 0 if self._is_whole else usage.get("completion_tokens") or 0
        earlier = 0 if self._counted else self._begun.tokens
        self._counted = True
        prompt_tokens = max(0, (usage.get("prompt_tokens") or 0) - self._begun.tokens)
        details = usage.get("prompt_tokens_details") or {}
        if details.get("cached_tokens") is not None:
            details = {**details, "cached_tokens": min(details["cached_tokens"], prompt_tokens)}
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": earlier + written,
            "prompt_tokens_details": details,
        }


def _only_the_end(choice: Mapping[str, Any]) -> dict[str, Any]:
    reason = "length" if choice.get("finish_reason") else None
    return {"index": choice["index"], "delta": {}, "text": "", "finish_reason": reason}
