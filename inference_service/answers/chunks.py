"""Engine chunks in, OpenAI's exact `chat.completion.chunk` objects out. Pure; one object per answer.

Every engine says roughly the same thing in its own accent: llama.cpp opens with `content: null` and adds `timings`,
vLLM leaves out `usage: null`, some repeat the role in every chunk. What leaves here is the stream that OpenAI
documents: one role chunk per choice, deltas, one empty delta with the finish_reason per choice, and, when it was asked
for, the usage chunk last. The plain text delta, nearly every chunk there is, is put together from bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from inference_service.answers.shapes import NO_USAGE, AnswerHead, AnswerWishes, delta_of, logprobs_of

_TEXT_KEYS = ("content", "refusal", "reasoning_content")
"""Delta keys that carry text. `reasoning_content` is not OpenAI's, but it is what every client with a thinking view
reads, and dropping it would leave its reader before a silent stream."""

_ROLE = b'{"role":"assistant","content":""}'
_ROLE_BEFORE_CALLS = b'{"role":"assistant","content":null}'


@dataclass(slots=True)
class _Choice:
    """How far one choice of the answer has come."""

    role_sent: bool = False
    finish_reason: str | None = None
    tool_calls_begun: int = 0


class ChunkStream:
    """Rewrites the chunks of one streamed answer; feed it in order, then call `end` once."""

    __slots__ = ("_choices", "_holds_role", "_prefix", "_suffix", "_wishes", "usage")

    def __init__(self, head: AnswerHead, wishes: AnswerWishes, *, begun: bool = False) -> None:
        """`head` is repeated in every chunk; `wishes` say what the client asked to see.

        begun: an earlier attempt has told the role of the only choice.
        """
        self._wishes = wishes
        self._holds_role = wishes.has_tools
        self._choices: dict[int, _Choice] = {0: _Choice(role_sent=True)} if begun else {}
        self._prefix = head.json_prefix("chat.completion.chunk")
        self._suffix = b',"usage":null}' if wishes.include_usage else b"}"
        self.usage = NO_USAGE

    def feed(self, chunk: Mapping[str, Any]) -> list[bytes]:
        """The finished chunks that this engine chunk gives: none, one, or a few.

        Raises KeyError, TypeError or AttributeError: it is no chat chunk.
        """
        if chunk.get("usage"):
            self.usage = self.usage.plus(chunk["usage"])
        out: list[bytes] = []
        for choice in chunk["choices"]:
            self._feed_choice(choice, out)
        return out

    def end(self) -> list[bytes]:
        """What comes after the last delta: the usage chunk when it was asked for."""
        if not self._wishes.include_usage:
            return []
        return [b"".join((self._prefix, b',"choices":[],"usage":', orjson.dumps(self.usage.as_json()), b"}"))]

    @property
    def complete(self) -> bool:
        """Whether every choice that was asked for has its finish_reason."""
        finished = sum(1 for choice in self._choices.values() if choice.finish_reason is not None)
        return finished >= self._wishes.n

    @property
    def finish_reason(self) -> str:
        """The reason the first choice ended; "" while it has not."""
        first = self._choices.get(0)
        return (first.finish_reason if first else None) or ""

    def _feed_choice(self, choice: Mapping[str, Any], out: list[bytes]) -> None:
        index: int = choice["index"]
        delta = delta_of(choice)
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _Choice()
        if state.finish_reason is not None:
            return
        texts = [(key, delta[key]) for key in _TEXT_KEYS if delta.get(key)]
        calls = delta.get("tool_calls")
        reason = choice.get("finish_reason")
        if not state.role_sent and (texts or calls or reason or not self._holds_role):
            self._say(out, index, _ROLE_BEFORE_CALLS if calls else _ROLE)
            state.role_sent = True
        logprobs = self._logprobs(choice)
        if texts:
            self._say(out, index, _text_delta(texts), logprobs)
        if calls:
            for call_delta in _tool_call_deltas(self._wishes.told(calls), state):
                self._say(out, index, self._call_delta(call_delta))
        if reason:
            reason = self._wishes.reason(reason)
            state.finish_reason = reason
            self._say(out, index, b"{}", reason=orjson.dumps(reason))

    def _call_delta(self, delta: Mapping[str, Any]) -> bytes:
        told = {"function_call": delta["function"]} if self._wishes.are_functions else {"tool_calls": [delta]}
        return orjson.dumps(told)

    def _logprobs(self, choice: Mapping[str, Any]) -> bytes:
        if not self._wishes.logprobs:
            return b"null"
        return orjson.dumps(logprobs_of(choice.get("logprobs"), self._wishes.top_logprobs))

    def _say(
        self, out: list[bytes], index: int, delta: bytes, logprobs: bytes = b"null", reason: bytes = b"null"
    ) -> None:
        out.append(
            b'%b,"choices":[{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}]%b'
            % (self._prefix, index, delta, logprobs, reason, self._suffix)
        )


def _text_delta(texts: Sequence[tuple[str, str]]) -> bytes:
    if len(texts) == 1 and texts[0][0] == "content":
        return b'{"content":%b}' % orjson.dumps(texts[0][1])
    return orjson.dumps(dict(texts))


def _tool_call_deltas(calls: Sequence[Mapping[str, Any]], state: _Choice) -> list[dict[str, Any]]:
    """OpenAI's form: the first delta of a call names it with empty arguments, the rest are pieces of the arguments."""
    deltas: list[dict[str, Any]] = []
    for call in calls:
        index = call.get("index", 0)
        function = call.get("function") or {}
        if index >= state.tool_calls_begun:
            state.tool_calls_begun = index + 1
            named = {"name": function.get("name", ""), "arguments": ""}
            deltas.append({"index": index, "id": call["id"], "type": "function", "function": named})
        if function.get("arguments"):
            deltas.append({"index": index, "function": {"arguments": function["arguments"]}})
    return deltas
