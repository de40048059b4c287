"""Text completions in OpenAI's exact form, whole and in chunks, out of what engines say. Pure; one object per answer.

A chunk and a whole answer have the same shape here, and so has an engine's own whole answer: it is fed as one chunk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import orjson

from inference_service.answers.shapes import NO_USAGE, AnswerHead, Usage, summed

_OBJECT: Final = "text_completion"
_LOGPROB_KEYS: Final = ("tokens", "token_logprobs", "top_logprobs", "text_offset")


@dataclass(frozen=True, slots=True)
class CompletionWishes:
    """What the request said about the form of its answer.

    choices: prompts x n. echo: texts to put before the choices of each prompt; empty where the engine does that.
    logprobs: alternatives wanted for each token; None for no log probabilities at all. writes: False for `max_tokens`
    0, which engines count as one token. drops_text: and which makes them write that token.
    """

    choices: int
    n: int = 1
    echo: Sequence[str] = ()
    logprobs: int | None = None
    include_usage: bool = False
    writes: bool = True
    drops_text: bool = False

    @classmethod
    def of(cls, request: Mapping[str, Any], echo: Sequence[str] = ()) -> Self:
        """Read the wishes out of a completion request that the gateway has validated."""
        n = request.get("n") or 1
        writes = request.get("max_tokens") != 0
        return cls(
            choices=len(request["prompt"]) * n,
            n=n,
            echo=echo,
            logprobs=request.get("logprobs"),
            include_usage=bool((request.get("stream_options") or {}).get("include_usage")),
            writes=writes,
            drops_text=not writes and (bool(echo) or not request.get("echo")),
        )


@dataclass(slots=True)
class _Choice:
    """One choice as far as it was heard; `offset` is the length of the text whose tokens were told."""

    text: list[str] = field(default_factory=list)
    logprobs: dict[str, list[Any]] = field(default_factory=dict)
    finish_reason: str | None = None
    offset: int = 0


class _Completion:
    """What a streamed and a whole answer share: the choices, and what they cost."""

    def __init__(self, head: AnswerHead, wishes: CompletionWishes, *, begun: bool = False) -> None:
        """`head` names the answer; `wishes` say what the client asked to see.

        begun: an earlier attempt has told the beginning of the only choice.
        """
        self._head = head
        self._wishes = wishes
        self._choices: dict[int, _Choice] = {0: _Choice()} if begun else {}
        self._usages: dict[int, Usage] = {}

    @property
    def usage(self) -> Usage:
        """Tokens of all prompts and choices."""
        usages = self._usages.values()
        cached = [usage.cached_tokens for usage in usages if usage.cached_tokens is not None]
        return Usage(
            prompt_tokens=sum(usage.prompt_tokens for usage in usages),
            completion_tokens=sum(usage.completion_tokens for usage in usages) if self._wishes.writes else 0,
            cached_tokens=sum(cached) if cached else None,
            details=summed(usage.details for usage in usages) if self._wishes.writes else {},
        )

    @property
    def complete(self) -> bool:
        """Whether every choice that was asked for has its finish_reason."""
        finished = sum(1 for choice in self._choices.values() if choice.finish_reason is not None)
        return finished >= self._wishes.choices

    @property
    def finish_reason(self) -> str:
        """The reason the first choice ended; "" while it has not."""
        first = self._choices.get(0)
        return (first.finish_reason if first else None) or ""

    def _hear(self, chunk: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Take in one engine chunk; what it adds, in OpenAI's form."""
        said = [self._hear_choice(choice) for choice in chunk["choices"]]
        if chunk.get("usage"):
            # llama.cpp tells the cost of each choice with its end, others that of all in one.
            prompt = chunk["choices"][0]["index"] // self._wishes.n if len(said) == 1 else 0
            self._usages[prompt] = self._usages.get(prompt, NO_USAGE).plus(chunk["usage"])
        return said

    def _hear_choice(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        if not self._wishes.writes:
            choice = _unwritten(choice, drops_text=self._wishes.drops_text)
        index: int = choice["index"]
        state = self._choices.get(index)
        text = choice["text"]
        if state is None:
            state = self._choices[index] = _Choice()
            text = (self._wishes.echo[index // self._wishes.n] if self._wishes.echo else "") + text
        logprobs = self._logprobs(choice.get("logprobs"), state)
        state.finish_reason = choice.get("finish_reason") or state.finish_reason
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": choice.get("finish_reason")}

    def _logprobs(self, logprobs: Mapping[str, Any] | None, state: _Choice) -> dict[str, Any] | None:
        most = self._wishes.logprobs
        if most is None or not logprobs:
            return None
        if "content" not in logprobs:
            return {key: logprobs.get(key) for key in _LOGPROB_KEYS}
        told = _as_completions_have_it(logprobs["content"], most, state.offset)
        state.offset += sum(map(len, told["tokens"]))
        return told


class CompletionStream(_Completion):
    """Rewrites the chunks of one streamed answer; feed it in order, then call `end` once."""

    def feed(self, chunk: Mapping[str, Any]) -> list[bytes]:
        """The finished chunks that this engine chunk gives.

        Raises KeyError, TypeError or AttributeError: it is no chunk of a completion.
        """
        return [
            self._say([choice]) for choice in self._hear(chunk) if choice["text"] or choice["finish_reason"] is not None
        ]

    def end(self) -> list[bytes]:
        """What comes after the last piece of text: the usage chunk when it was asked for."""
        return [self._say([], self.usage)] if self._wishes.include_usage else []

    def _say(self, choices: list[dict[str, Any]], usage: Usage | None = None) -> bytes:
        body: dict[str, Any] = {"choices": choices}
        if self._wishes.include_usage:
            body["usage"] = usage.as_json() if usage is not None else None
        return self._head.json_prefix(_OBJECT) + b"," + orjson.dumps(body)[1:]


class WholeCompletion(_Completion):
    """Gathers an answer, streamed or not, into one object."""

    def feed(self, chunk: Mapping[str, Any]) -> list[bytes]:
        """Take in one engine chunk. Nothing leaves before the end, so the list is always empty. Raises as a stream."""
        for said in self._hear(chunk):
            state = self._choices[said["index"]]
            state.text.append(said["text"])
            for key, values in (said["logprobs"] or {}).items():
                state.logprobs.setdefault(key, []).extend(values or ())
        return []

    def end(self) -> list[bytes]:
        """The one finished `text_completion`."""
        choices = [
            {
                "index": index,
                "text": "".join(choice.text),
                "logprobs": choice.logprobs or None,
                "finish_reason": choice.finish_reason,
            }
            for index, choice in sorted(self._choices.items())
        ]
        body = {"choices": choices, "usage": self.usage.as_json()}
        return [self._head.json_prefix(_OBJECT) + b"," + orjson.dumps(body)[1:]]


def _unwritten(choice: Mapping[str, Any], *, drops_text: bool) -> Mapping[str, Any]:
    """What is left of a choice that was to have no token; its limit is what ended it, whatever that token was."""
    dropped = {"text": "", "logprobs": None} if drops_text else {}
    return {**choice, **dropped, "finish_reason": "length" if choice.get("finish_reason") else None}


def _as_completions_have_it(entries: Sequence[Mapping[str, Any]], most: int, offset: int) -> dict[str, list[Any]]:
    """A chat's log probabilities, which llama.cpp tells here too, as columns.

    The token itself is always among its alternatives, so there may be one more of them than was asked for, as OpenAI
    has it.
    """
    columns: dict[str, list[Any]] = {key: [] for key in _LOGPROB_KEYS}
    for entry in entries:
        likely = sorted(entry.get("top_logprobs") or (), key=lambda one: -one["logprob"])[:most]
        columns["tokens"].append(entry["token"])
        columns["token_logprobs"].append(entry["logprob"])
        columns["top_logprobs"].append(
            {one["token"]: one["logprob"] for one in likely} | {entry["token"]: entry["logprob"]}
        )
        columns["text_offset"].append(offset)
        offset += len(entry["token"])
    return columns
