"""Calls that a model decides on of functions that are strict: told only when their arguments are as the schema says.

With OpenAI `strict` binds whoever decides on the call. Engines bind such calls in their own ways: llama.cpp's converter
leaves out `multipleOf`, formats and patterns without anchors, vLLM knows the calls of some models only. So a call is
held back until it is whole. One that breaks its schema is to be asked for once more by name, which binds
(`forced_calls.py`). Text is told as it comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import orjson

from inference_service.answers.answer import Answer, PassedOn
from inference_service.answers.binding import Binding, Grammar
from inference_service.answers.forced_calls import ForcedCall

Call = dict[str, Any]

LEAST_TOKENS: Final = 64
"""What a call that is asked for again may write though nothing is left of the answer's limit: most calls are shorter.
Never more than the limit itself."""


@dataclass(frozen=True, slots=True)
class StrictTools:
    """The functions of a chat that are strict, of which the model may call any; `binding` is that of their calls."""

    calls: ForcedCall
    binding: Binding

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Self | None:
        """What a validated chat request has of them; None when there are none, or no choice between call and text."""
        functions = {tool["function"]["name"]: tool["function"] for tool in request.get("tools") or ()}
        strict = tuple(function for function in functions.values() if function.get("strict"))
        if not strict or request.get("tool_choice") not in (None, "auto"):
            return None
        calls = ForcedCall(strict, by_name=False)
        binding = Binding.of(request, calls)
        return None if binding is None else cls(calls, binding)


@dataclass(frozen=True, slots=True)
class BrokenCall:
    """A call whose arguments are not as the schema of its function says. choice, place: which of the answer's."""

    choice: int
    place: int
    name: str


class StrictCalls(PassedOn):
    """An answer of chunks as engines say them, passed on to `inner`, its calls once they are whole and keep to it."""

    __slots__ = ("_calls", "_ends", "_grammar", "_held", "broken")

    def __init__(self, inner: Answer, calls: ForcedCall, grammar: Grammar) -> None:
        """`grammar` is that of `calls`."""
        super().__init__(inner)
        self._calls = calls
        self._grammar = grammar
        self._held: dict[int, dict[int, Call]] = {}
        self._ends: dict[int, Mapping[str, Any]] = {}
        self.broken: list[BrokenCall] = []
        """Those whose choice is held back until `mend` has been told of each."""

    def feed(self, chunk: Mapping[str, Any]) -> list[bytes]:
        """See `Answer.feed`."""
        choices = [told for choice in chunk["choices"] for told in self._told(choice)]
        return self._inner.feed({**chunk, "choices": choices})

    def question(self, call: BrokenCall, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request for `call` by name, out of that for the answer, whose end was heard.

        It may write what is left of the limit, `LEAST_TOKENS` at least. An engine's usage is that of all choices
        together, and so is what is left.
        """
        by_name = {"tool_choice": {"type": "function", "function": {"name": call.name}}}
        asked = {**request, **by_name, "n": 1, "logprobs": None, "top_logprobs": None}
        if limit := request.get("max_completion_tokens") or request.get("max_tokens"):
            left = limit * (request.get("n") or 1) - self.usage.completion_tokens
            tokens = min(limit, max(LEAST_TOKENS, left))
            asked |= {name: tokens for name in ("max_tokens", "max_completion_tokens") if request.get(name) is not None}
        return asked

    def mend(self, call: BrokenCall, called: Mapping[str, Any], usage: Mapping[str, Any]) -> list[bytes]:
        """Take the arguments of a call that was asked for by name, a choice of a whole answer; what may be said now."""
        self.broken.remove(call)
        held = self._held[call.choice]
        (again,) = called["message"].get("tool_calls") or ({"function": {"arguments": ""}},)
        held[call.place]["function"]["arguments"] = again["function"]["arguments"]
        if called["finish_reason"] == "length":
            self._ends[call.choice] = {**self._ends[call.choice], "finish_reason": "length"}
        is_whole = all(call.choice != broken.choice for broken in self.broken)
        choices = [_with_calls(self._ends[call.choice], held)] if is_whole else []
        return self._inner.feed({"choices": choices, "usage": self._with_earlier_prompts(usage)})

    def _with_earlier_prompts(self, usage: Mapping[str, Any]) -> dict[str, Any]:
        """The usage of a second question, its prompt added to those before, which `Usage.plus` takes for the same."""
        prompts = {"prompt_tokens": self.usage.prompt_tokens + usage["prompt_tokens"]}
        details = usage.get("prompt_tokens_details") or {}
        if (cached := details.get("cached_tokens")) is not None:
            details = {**details, "cached_tokens": (self.usage.cached_tokens or 0) + cached}
        return {**usage, **prompts, "prompt_tokens_details": details}

    def _told(self, choice: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        index: int = choice["index"]
        held = self._held.setdefault(index, {})
        delta = dict(choice.get("delta") or {})
        for piece in delta.pop("tool_calls", None) or ():
            _gather(held, piece)
        if not held:
            return [choice]
        rest = {**choice, "delta": delta}
        if not (reason := choice.get("finish_reason")):
            return [rest]
        broken = (
            []
            if reason == "length"
            else [
                BrokenCall(index, place, call["function"]["name"])
                for place, call in held.items()
                if not self._keeps(call)
            ]
        )
        self.broken += broken
        self._ends[index] = rest
        return [] if broken else [_with_calls(rest, held)]

    def _keeps(self, call: Call) -> bool:
        """Whether a call is as its function says, where that is strict."""
        name, said = call["function"]["name"], call["function"]["arguments"]
        if all(function["name"] != name for function in self._calls.functions):
            return True
        try:
            arguments = orjson.loads(said)
        except ValueError:
            return False
        told = arguments if self._calls.only_name else {"name": name, "arguments": arguments}
        matcher = self._grammar.matcher()
        tokens = list(orjson.dumps(told))
        return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def _gather(held: dict[int, Call], piece: Mapping[str, Any]) -> None:
    function = piece.get("function") or {}
    place: int = piece.get("index", 0)
    if place not in held:
        named = {"name": function.get("name", ""), "arguments": ""}
        held[place] = {"index": place, "id": piece["id"], "type": "function", "function": named}
    held[place]["function"]["arguments"] += function.get("arguments") or ""


def _with_calls(end: Mapping[str, Any], held: Mapping[int, Call]) -> dict[str, Any]:
    return {**end, "delta": {**end["delta"], "tool_calls": [held[place] for place in sorted(held)]}}
