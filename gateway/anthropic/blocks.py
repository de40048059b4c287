"""The blocks of one answer, as they are made and told: thoughts, text, calls of tools. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jiter
import orjson

from gateway.http.sse import frame
from gateway.schemas.common import JsonObject

PING = frame(b'{"type":"ping"}', event="ping")


def event(kind: str, **fields: Any) -> bytes:
    """One of Anthropic's events."""
    return frame(orjson.dumps({"type": kind, **fields}), event=kind)


@dataclass(slots=True)
class TextInTheMaking:
    """Text, or with `kind` "thinking" thoughts."""

    kind: str = "text"
    pieces: list[str] = field(default_factory=list)

    def begun(self) -> JsonObject:
        """The block before its first word."""
        return {"type": "text", "text": ""} if self.kind == "text" else _thinking("")

    def delta(self, piece: str) -> JsonObject:
        """The next words."""
        self.pieces.append(piece)
        return {"type": f"{self.kind}_delta", self.kind: piece}

    def whole(self) -> JsonObject:
        """The block as it is now. Thoughts bear no signature: nothing here has to know them again."""
        said = "".join(self.pieces)
        return {"type": "text", "text": said} if self.kind == "text" else _thinking(said)


@dataclass(slots=True)
class CallInTheMaking:
    """A call of a tool."""

    id: str
    name: str
    pieces: list[str] = field(default_factory=list)

    def begun(self) -> JsonObject:
        """The block before its arguments."""
        return {"type": "tool_use", "id": self.id, "name": self.name, "input": {}}

    def delta(self, piece: str) -> JsonObject:
        """The next piece of its arguments."""
        self.pieces.append(piece)
        return {"type": "input_json_delta", "partial_json": piece}

    def whole(self) -> JsonObject:
        """The block as it is now; of arguments that broke off, or are no JSON, what can be read, as the SDK does."""
        return {**self.begun(), "input": _read("".join(self.pieces))}


Block = TextInTheMaking | CallInTheMaking


@dataclass(slots=True)
class _Waiting:
    """A block that is told once the answer has ended."""

    block: Block
    pieces: list[str]


class Blocks:
    """Tells an answer's blocks one after the other, each by its place, in the order in which the model began them.

    They are told as they come until the first call, and that too. What the model begins behind it waits for the
    answer's end: pieces of several calls may come in turns, and a block that was closed cannot go on.
    """

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._done: list[Block] = []
        self._open: Block | None = None
        self._calls: dict[int, CallInTheMaking] = {}
        self._waiting: list[_Waiting] = []

    @property
    def has_calls(self) -> bool:
        """Whether a tool was called."""
        return bool(self._calls)

    def say(self, text: str, kind: str = "text") -> bytes:
        """The model says text, or thinks."""
        if self._calls:
            if not self._waiting or not _is_of(self._waiting[-1].block, kind):
                self._waiting.append(_Waiting(TextInTheMaking(kind), []))
            self._waiting[-1].pieces.append(text)
            return b""
        frames = b"" if _is_of(self._open, kind) else self._begin(TextInTheMaking(kind))
        return frames + self._go_on(text)

    def call(self, delta: Mapping[str, Any]) -> bytes:
        """The model begins a call, or goes on with it (a `tool_calls` delta of a chunk)."""
        function, index = delta.get("function") or {}, delta.get("index", 0)
        piece = function.get("arguments") or ""
        call = self._calls.get(index)
        if call is None:
            call = self._calls[index] = CallInTheMaking(delta.get("id") or "", function.get("name") or "")
            if len(self._calls) == 1:
                return self._begin(call) + self._go_on(piece)
            self._waiting.append(_Waiting(call, [piece]))
            return b""
        waiting = next((waiting for waiting in self._waiting if waiting.block is call), None)
        if waiting is not None:
            waiting.pieces.append(piece)
            return b""
        return self._go_on(piece) if piece else b""

    def end(self) -> bytes:
        """The answer has ended: what waited is told."""
        frames = b""
        for waiting in self._waiting:
            frames += self._begin(waiting.block) + self._go_on("".join(waiting.pieces))
        return frames + self._close()

    def whole(self) -> list[JsonObject]:
        """The blocks, in order."""
        return [block.whole() for block in self._done]

    def _begin(self, block: Block) -> bytes:
        frames = self._close()
        self._open = block
        is_first = not self._done
        frames += event("content_block_start", index=len(self._done), content_block=block.begun())
        return frames + PING if is_first else frames

    def _go_on(self, piece: str) -> bytes:
        assert self._open is not None
        return event("content_block_delta", index=len(self._done), delta=self._open.delta(piece))

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        frames = event("content_block_stop", index=len(self._done))
        self._done.append(self._open)
        self._open = None
        return frames


def _is_of(block: Block | None, kind: str) -> bool:
    return isinstance(block, TextInTheMaking) and block.kind == kind


def _thinking(text: str) -> JsonObject:
    return {"type": "thinking", "thinking": text, "signature": ""}


def _read(arguments: str) -> JsonObject:
    try:
        value = jiter.from_json(arguments.encode(), partial_mode=True) if arguments.strip() else {}
    except ValueError:
        value = {}
    return value if isinstance(value, dict) else {}
