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


class Blocks:
    """Tells an answer's blocks one after the other, each by its place."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._done: list[Block] = []
        self._open: Block | None = None
        self._calls: dict[int, CallInTheMaking] = {}
        self._waiting: dict[int, list[str]] = {}
        self._afterwards: list[str] = []

    @property
    def has_calls(self) -> bool:
        """Whether a tool was called."""
        return bool(self._calls)

    def say(self, text: str, kind: str = "text") -> bytes:
        """The model says text, or thinks; behind a call it is told once the answer has ended."""
        if self._calls:
            if kind == "text":
                self._afterwards.append(text)
            return b""
        frames = b""
        if not isinstance(self._open, TextInTheMaking) or self._open.kind != kind:
            frames = self._begin(TextInTheMaking(kind))
        return frames + self._go_on(text)

    def call(self, delta: Mapping[str, Any]) -> bytes:
        """The model begins a call, or goes on with it (a `tool_calls` delta of a chunk).

        The first is told as it comes. Others are told once the answer has ended: pieces of several may come in turns,
        and a block that was closed cannot go on.
        """
        function, index = delta.get("function") or {}, delta.get("index", 0)
        piece = function.get("arguments") or ""
        if index not in self._calls:
            call = self._calls[index] = CallInTheMaking(delta.get("id") or "", function.get("name") or "")
            if len(self._calls) > 1:
                self._waiting[index] = [piece]
                return b""
            return self._begin(call) + self._go_on(piece)
        if index in self._waiting:
            self._waiting[index].append(piece)
            return b""
        return self._go_on(piece) if piece else b""

    def end(self) -> bytes:
        """The answer has ended: what waited is told."""
        frames = b""
        for index, pieces in self._waiting.items():
            frames += self._begin(self._calls[index]) + self._go_on("".join(pieces))
        if self._afterwards:
            frames += self._begin(TextInTheMaking()) + self._go_on("".join(self._afterwards))
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


def _thinking(text: str) -> JsonObject:
    return {"type": "thinking", "thinking": text, "signature": ""}


def _read(arguments: str) -> JsonObject:
    try:
        value = jiter.from_json(arguments.encode(), partial_mode=True) if arguments.strip() else {}
    except ValueError:
        value = {}
    return value if isinstance(value, dict) else {}
