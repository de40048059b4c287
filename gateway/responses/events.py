"""A response as it is streamed: what a model says, told in OpenAI's events in their order. Pure.

The same words make the same events with the same numbers, so a stream that is taken up again is told from its start
and the events that the client has are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from gateway.convert.items import (
    call_part,
    file_citation,
    message_item,
    output_text,
    reasoning_item,
    reasoning_text,
    search_item,
)
from gateway.http.sse import frame
from gateway.runs import derived_ids
from gateway.schemas.common import JsonObject
from gateway.schemas.namespaces import Spelled

_ENDS = {"completed": "completed", "incomplete": "incomplete", "failed": "failed", "cancelled": "failed"}
"""A response's status -> the event of its end. OpenAI has none for a cancelled one over SSE."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What may be said in pieces: words of an answer, or thoughts.

    name: as its events have it. part: of its text and what that cites. item: of its id, status and parts. more: what
    its text's events bear.
    """

    name: str
    part: Callable[[str, Iterable[JsonObject]], JsonObject]
    item: Callable[[str, str, Iterable[JsonObject]], JsonObject]
    more: JsonObject = field(default_factory=dict)


def _message(id_: str, status: str, parts: Iterable[JsonObject]) -> JsonObject:
    return message_item(id_, "assistant", status, parts)


def _thought(text: str, cited: Iterable[JsonObject]) -> JsonObject:
    del cited
    return reasoning_text(text)


def _thoughts(id_: str, status: str, parts: Iterable[JsonObject]) -> JsonObject:
    return reasoning_item(id_, status, [part["text"] for part in parts])


_MESSAGE: Final = _Kind("output_text", output_text, _message, {"logprobs": []})
_THOUGHT: Final = _Kind("reasoning_text", _thought, _thoughts)


@dataclass(slots=True)
class _Said:
    """A message or thoughts in the making."""

    kind: _Kind
    id: str
    place: int
    text: str = ""
    cited: list[JsonObject] = field(default_factory=list)
    is_open: bool = True

    @property
    def part(self) -> JsonObject:
        """Its one part."""
        return self.kind.part(self.text, self.cited)

    def item(self, status: str) -> JsonObject:
        """OpenAI's item; what something else came behind is complete, however the response ended."""
        return self.kind.item(self.id, status if self.is_open else "completed", [self.part])


@dataclass(slots=True)
class _Call:
    """A call in the making. It may go on until the response ends: the pieces of several come in turns."""

    id: str
    place: int
    call_id: str
    function: Spelled
    arguments: str = ""

    def item(self, status: str) -> JsonObject:
        """OpenAI's item of the call."""
        return {"id": self.id, "status": status, **call_part(self.call_id, self.function, self.arguments)}


@dataclass(slots=True)
class _Search:
    """A search of files, as its item says."""

    told: JsonObject

    def item(self, status: str) -> JsonObject:
        """OpenAI's item. Its own status counts."""
        del status
        return self.told


class ResponseEvents:
    """Tells of one response: its items in the order in which the model began them."""

    def __init__(
        self, run_id: str, thread_id: str = "", *, spelled: Mapping[str, Spelled] | None = None, after: int = -1
    ) -> None:
        """Of the run that it is, and of its thread if it is stored. after: the last event that the client has.

        spelled: see `spelled_in`.
        """
        self._run_id = run_id
        self._thread_id = thread_id
        self._after = after
        self._spelled = spelled or {}
        self._number = -1
        self._items: list[_Said | _Call | _Search] = []
        self._said: _Said | None = None
        self._calls: dict[int, _Call] = {}

    def created(self, response: JsonObject, *, queued: bool) -> bytes:
        """The response is there. queued: it waits in the background."""
        frames = self._frame("response.created", response=response)
        return frames + self._frame("response.queued", response=response) if queued else frames

    def in_progress(self, response: JsonObject) -> bytes:
        """Work on it has begun."""
        return self._frame("response.in_progress", response=response)

    @property
    def is_speaking(self) -> bool:
        """Whether the next words belong to a message that was begun."""
        return self._said is not None and self._said.kind is _MESSAGE

    def think(self, text: str) -> bytes:
        """The model begins to think, or goes on with it."""
        return self._go_on(_THOUGHT, derived_ids.reasoning_item_id, text)

    @property
    def said_last(self) -> str:
        """The message so far that the next words belong to; empty where they begin one."""
        return self._said.text if self._said is not None and self.is_speaking else ""

    def say(self, text: str, cited: Iterable[JsonObject] = ()) -> bytes:
        """The model begins a message, or goes on with it; an empty text only begins it. cited: as messages keep it."""
        frames = self._go_on(_MESSAGE, derived_ids.message_id, text)
        for annotation in map(file_citation, cited):
            frames += self._cite(annotation)
        return frames

    def search(self, item_id: str) -> bytes:
        """Files are being searched, before anything is said."""
        search = _Search(search_item(item_id, "in_progress", []))
        self._items.append(search)
        frames = self._frame("response.output_item.added", output_index=len(self._items) - 1, item=search.told)
        for state in ("in_progress", "searching"):
            frames += self._of_search(state, search)
        return frames

    def searched(self, item: JsonObject) -> bytes:
        """The search has ended, as its item says."""
        search = next(one for one in self._items if isinstance(one, _Search))
        search.told = item
        frames = self._of_search("completed", search) if item["status"] == "completed" else b""
        return frames + self._frame("response.output_item.done", output_index=self._items.index(search), item=item)

    def call(self, delta: Mapping[str, Any]) -> bytes:
        """The model begins a call, or goes on with it. delta: as chunks of chats have it."""
        function, index = delta.get("function") or {}, delta.get("index", 0)
        call, frames = self._calls.get(index), b""
        if call is None:
            frames += self._close("completed")
            item_id = derived_ids.call_item_id(self._run_id, 1, index, self._thread_id)
            name = function.get("name") or ""
            spelled = self._spelled.get(name) or Spelled(name)
            call = _Call(item_id, len(self._items), delta.get("id") or "", spelled)
            self._calls[index] = call
            self._items.append(call)
            item = call.item("in_progress")
            frames += self._frame("response.output_item.added", output_index=call.place, item=item)
        piece = function.get("arguments") or ""
        call.arguments += piece
        return frames + self._of_call("delta", call, delta=piece) if piece else frames

    def end(self, response: JsonObject) -> bytes:
        """It has ended, as the whole response says."""
        status = "completed" if response["status"] == "completed" else "incomplete"
        frames = self._close(status)
        for call in self._calls.values():
            frames += self._of_call("done", call, name=call.function.name, arguments=call.arguments)
            frames += self._frame("response.output_item.done", output_index=call.place, item=call.item(status))
        return frames + self._frame(f"response.{_ENDS[response['status']]}", response=response)

    def output(self, status: str) -> list[JsonObject]:
        """The items that were told, in order."""
        return [item.item(status) for item in self._items]

    def _go_on(self, kind: _Kind, item_id: Callable[[str, int, int, str], str], text: str) -> bytes:
        """Go on with what is being said, or begin anew when that is of another kind, or over."""
        frames = b""
        said = self._said
        if said is None or said.kind is not kind:
            frames += self._close("completed")
            before = sum(isinstance(item, _Said) and item.kind is kind for item in self._items)
            said = self._said = _Said(kind, item_id(self._run_id, 1, before, self._thread_id), len(self._items))
            self._items.append(said)
            item = kind.item(said.id, "in_progress", [])
            frames += self._frame("response.output_item.added", output_index=said.place, item=item)
            frames += self._of_part("response.content_part.added", said, part=kind.part("", ()))
        said.text += text
        if not text:
            return frames
        return frames + self._of_part(f"response.{kind.name}.delta", said, delta=text, **kind.more)

    def _close(self, status: str) -> bytes:
        """End what is being said, if anything is."""
        said, self._said = self._said, None
        if said is None:
            return b""
        item, kind = said.item(status), said.kind
        said.is_open = False
        return (
            self._of_part(f"response.{kind.name}.done", said, text=said.text, **kind.more)
            + self._of_part("response.content_part.done", said, part=said.part)
            + self._frame("response.output_item.done", output_index=said.place, item=item)
        )

    def _cite(self, annotation: JsonObject) -> bytes:
        assert self._said is not None
        index = len(self._said.cited)
        self._said.cited.append(annotation)
        kind = "response.output_text.annotation.added"
        return self._of_part(kind, self._said, annotation_index=index, annotation=annotation)

    def _of_search(self, state: str, search: _Search) -> bytes:
        name = f"response.file_search_call.{state}"
        return self._frame(name, item_id=search.told["id"], output_index=self._items.index(search))

    def _of_part(self, kind: str, said: _Said, **fields: Any) -> bytes:
        return self._frame(kind, item_id=said.id, output_index=said.place, content_index=0, **fields)

    def _of_call(self, kind: str, call: _Call, **fields: Any) -> bytes:
        name = f"response.function_call_arguments.{kind}"
        return self._frame(name, item_id=call.id, output_index=call.place, **fields)

    def _frame(self, kind: str, **fields: Any) -> bytes:
        self._number += 1
        if self._number <= self._after:
            return b""
        return frame(orjson.dumps({"type": kind, "sequence_number": self._number, **fields}), event=kind)
