"""What a chat's job says, told as Anthropic's message: its events in their order, and the whole. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from gateway.anthropic.blocks import Blocks, event
from gateway.anthropic.stop_sequences import StopFinder
from gateway.schemas.common import JsonObject
from jan.inference.v1 import jobs_pb2
from jan.type.v1.usage_pb2 import Usage

_CHAT = "chatcmpl-"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the request said about its answer.

    stops: those that are looked for here; none where the engine does. tier: Anthropic's word for how it is served.
    """

    model: str
    max_tokens: int
    stops: Sequence[str] = ()
    tells_thoughts: bool = True
    tier: str = "standard"


class MessageAnswer:
    """One answer. Feed it each of the job's events that is no failure, in order, until `is_over`."""

    def __init__(self, job_id: str, wishes: Wishes) -> None:
        """Nothing was said yet."""
        self._id = f"msg_{job_id.removeprefix(_CHAT)}"
        self._wishes = wishes
        self._stops = StopFinder(wishes.stops)
        self._blocks = Blocks()
        self._finish_reason = ""
        self._said: list[str] = []
        self._usage = Usage()
        self._has_begun = False
        self.is_over = False

    @property
    def found_stop(self) -> bool:
        """Whether a stop sequence was found, so that the job may be left; its cost is not known then."""
        return self._stops.found is not None

    @property
    def heard(self) -> str:
        """All that the model wrote as text, the stop sequence too."""
        return "".join(self._said)

    def hear(self, said: jobs_pb2.JobEvent) -> bytes:
        """The events that one of the job's makes; none behind a stop sequence."""
        frames = b"" if self._has_begun else self._begin()
        if self.found_stop:
            return frames
        if said.WhichOneof("event") == "completed":
            self._usage.CopyFrom(said.completed.usage)
            self._finish_reason = self._finish_reason or said.completed.finish_reason
            return frames + self.end()
        for choice in orjson.loads(said.chunk.data)["choices"]:
            frames += self._hear_delta(choice["delta"])
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
        return frames

    def end(self, usage: Usage | None = None) -> bytes:
        """The answer is over. usage: what it cost, where the job's end does not tell."""
        self.is_over = True
        if usage is not None:
            self._usage.CopyFrom(usage)
        frames = self._say_held() + self._blocks.end()
        frames += event("message_delta", delta=self._stop(), usage=_told(self._usage))
        return frames + event("message_stop")

    def whole(self) -> JsonObject:
        """The message."""
        return self._message(self._blocks.whole(), self._usage) | self._stop()

    def _stop(self) -> JsonObject:
        """Why it ended."""
        reason = self._stop_reason
        details = {"type": "refusal", "category": None, "explanation": None} if reason == "refusal" else None
        return {"stop_reason": reason, "stop_sequence": self._stops.found, "stop_details": details}

    @property
    def _stop_reason(self) -> str:
        if self.found_stop:
            return "stop_sequence"
        if self._finish_reason == "length":
            is_full = 0 < self._usage.completion_tokens < self._wishes.max_tokens  # some servers tell no usage
            return "model_context_window_exceeded" if is_full else "max_tokens"
        if self._finish_reason == "content_filter":
            return "refusal"
        return "tool_use" if self._blocks.has_calls else "end_turn"

    def _begin(self) -> bytes:
        self._has_begun = True
        return event("message_start", message=self._message([], Usage()))

    def _hear_delta(self, delta: JsonObject) -> bytes:
        frames = b""
        if self._wishes.tells_thoughts and (thought := delta.get("reasoning_content")):
            frames += self._say_held() + self._blocks.say(thought, "thinking")
        if text := delta.get("content") or delta.get("refusal"):
            self._said.append(text)
            if told := self._stops.feed(text):
                frames += self._blocks.say(told)
        if self.found_stop:
            return frames
        for call in delta.get("tool_calls") or ():
            frames += self._say_held() + self._blocks.call(call)
        return frames

    def _say_held(self) -> bytes:
        """Say what might have become a stop sequence: something else comes behind it, so it does not."""
        held = self._stops.rest()
        return self._blocks.say(held) if held else b""

    def _message(self, content: list[JsonObject], usage: Usage) -> JsonObject:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._wishes.model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "container": None,
            "usage": {**_told(usage), "service_tier": self._wishes.tier},
        }


def _told(usage: Usage) -> JsonObject:
    """What an answer cost. As Anthropic counts, what the engine remembered is not among `input_tokens`."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }
