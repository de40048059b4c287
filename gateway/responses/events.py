"""A response as it is streamed: what a model says, told in OpenAI's events in their order. Pure.

The same words make the same events with the same numbers, so a stream that is taken up again is told from its start
and the events that the client has are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.convert.items import call_part, message_item, output_text, reasoning_item, reasoning_text
from gateway.http.sse import frame
from gateway.schemas.common import JsonObject

_ENDS = {"completed": "completed", "incomplete": "incomplete", "failed": "failed", "cancelled": "failed"}
"""A response's status -> the event of its end. OpenAI has none for a cancelled one over SSE."""


@dataclass(slots=True)
class _Thought:
    """What the model thinks, in the making."""

    place: int
    text: str = ""
    is_open: bool = True


@dataclass(slots=True)
class _Message:
    """The message in the making."""

    place: int
    text: str = ""
    is_open: bool = True


@dataclass(slots=True)
class _Call:
    """A call in the making."""

    item_id: str
    place: int
    call_id: str
    name: str
    arguments: str = ""

    def item(self, status: str) -> JsonObject:
        """OpenAI's item of the call."""
        return {"id": self.item_id, "status": status, **call_part(self.call_id, self.name, self.arguments)}


class ResponseEvents:
    """Tells of one response."""

    def __init__(self, message_id: str, item_id: Callable[[int], str], reasoning_id: str, *, after: int = -1) -> None:
        """item_id: the id of the item of the call with that index. after: the last event that the client has."""
        self._reasoning_id = reasoning_id
        self._thought: _Thought | None = None
        self._message_id = message_id
        self._item_id = item_id
        self._after = after
        self._number = -1
        self._places = 0
        self._message: _Message | None = None
        self._calls: dict[int, _Call] = {}

    def created(self, response: JsonObject, *, queued: bool) -> bytes:
        """The response is there. queued: it waits in the background."""
        frames = self._frame("response.created", response=response)
        return frames + self._frame("response.queued", response=response) if queued else frames

    def in_progress(self, response: JsonObject) -> bytes:
        """Work on it has begun."""
        return self._frame("response.in_progress", response=response)

    def think(self, text: str) -> bytes:
        """The model thinks, in front of its first word or call; what it thinks behind that is not told."""
        if self._message is not None or self._calls:
            return b""
        frames = b""
        if self._thought is None:
            self._thought = _Thought(self._next_place())
            item = reasoning_item(self._reasoning_id, "in_progress", [])
            frames += self._frame("response.output_item.added", output_index=self._thought.place, item=item)
            frames += self._of_thought("response.content_part.added", part=reasoning_text(""))
        self._thought.text += text
        return frames + self._of_thought("response.reasoning_text.delta", delta=text)

    def say(self, text: str) -> bytes:
        """The model begins a message, or goes on with it; an empty text only begins it."""
        frames = b""
        if self._message is None:
            frames += self._end_thought("completed")
            self._message = _Message(self._next_place())
            item = message_item(self._message_id, "assistant", "in_progress", [])
            frames += self._frame("response.output_item.added", output_index=self._message.place, item=item)
            frames += self._of_part("response.content_part.added", part=output_text(""))
        self._message.text += text
        if not text or not self._message.is_open:  # behind a call it is told by the end alone
            return frames
        return frames + self._of_part("response.output_text.delta", delta=text, logprobs=[])

    def call(self, delta: Mapping[str, Any]) -> bytes:
        """The model begins a call, or goes on with it. delta: as chunks of chats have it."""
        function, index = delta.get("function") or {}, delta.get("index", 0)
        call, frames = self._calls.get(index), b""
        if call is None:
            frames += self._end_thought("completed") + self._end_message("completed")
            name, call_id = function.get("name") or "", delta.get("id") or ""
            call = self._calls[index] = _Call(self._item_id(index), self._next_place(), call_id, name)
            item = call.item("in_progress")
            frames += self._frame("response.output_item.added", output_index=call.place, item=item)
        piece = function.get("arguments") or ""
        call.arguments += piece
        return frames + self._of_call("response.function_call_arguments.delta", call, delta=piece) if piece else frames

    def end(self, response: JsonObject) -> bytes:
        """It has ended, as the whole response says."""
        status = "completed" if response["status"] == "completed" else "incomplete"
        frames = self._end_thought(status) + self._end_message(status)
        for call in self._calls.values():
            item = call.item(status)
            frames += self._of_call(
                "response.function_call_arguments.done", call, name=call.name, arguments=call.arguments
            )
            frames += self._frame("response.output_item.done", output_index=call.place, item=item)
        return frames + self._frame(f"response.{_ENDS[response['status']]}", response=response)

    def output(self, status: str) -> list[JsonObject]:
        """The items that were told, in order."""
        items = [(call.place, call.item(status)) for call in self._calls.values()]
        if self._message is not None:
            content = [output_text(self._message.text)]
            items.append((self._message.place, message_item(self._message_id, "assistant", status, content)))
        if self._thought is not None:
            items.append((self._thought.place, self._reasoning_item(status)))
        return [item for _, item in sorted(items, key=lambda pair: pair[0])]

    def _reasoning_item(self, status: str) -> JsonObject:
        thought = self._thought.text if self._thought else ""
        is_cut = status == "incomplete" and self._message is None and not self._calls
        return reasoning_item(self._reasoning_id, "incomplete" if is_cut else "completed", [thought])

    def _end_thought(self, status: str) -> bytes:
        if self._thought is None or not self._thought.is_open:
            return b""
        self._thought.is_open = False
        text = self._thought.text
        return (
            self._of_thought("response.reasoning_text.done", text=text)
            + self._of_thought("response.content_part.done", part=reasoning_text(text))
            + self._frame(
                "response.output_item.done", output_index=self._thought.place, item=self._reasoning_item(status)
            )
        )

    def _end_message(self, status: str) -> bytes:
        if self._message is None or not self._message.is_open:
            return b""
        self._message.is_open = False
        part = output_text(self._message.text)
        item = message_item(self._message_id, "assistant", status, [part])
        return (
            self._of_part("response.output_text.done", text=self._message.text, logprobs=[])
            + self._of_part("response.content_part.done", part=part)
            + self._frame("response.output_item.done", output_index=self._message.place, item=item)
        )

    def _of_thought(self, kind: str, **fields: Any) -> bytes:
        place = self._thought.place if self._thought else 0
        return self._frame(kind, item_id=self._reasoning_id, output_index=place, content_index=0, **fields)

    def _of_part(self, kind: str, **fields: Any) -> bytes:
        place = self._message.place if self._message else 0
        return self._frame(kind, item_id=self._message_id, output_index=place, content_index=0, **fields)

    def _of_call(self, kind: str, call: _Call, **fields: Any) -> bytes:
        return self._frame(kind, item_id=call.item_id, output_index=call.place, **fields)

    def _frame(self, kind: str, **fields: Any) -> bytes:
        self._number += 1
        if self._number <= self._after:
            return b""
        return frame(orjson.dumps({"type": kind, "sequence_number": self._number, **fields}), event=kind)

    def _next_place(self) -> int:
        self._places += 1
        return self._places - 1
