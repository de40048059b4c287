"""Tells a function's call from an answer, where a model may write either and a schema binds both. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class CallOrAnswer:
    """Reads one choice from its first piece on; what it says is held back until it is known which of both it is."""

    def __init__(self, names: Iterable[str]) -> None:
        """`names`: of the functions whose call it may be, written as `{"name": ..., "arguments": {...}}`."""
        self._heads = [head_of_call(name) for name in names]
        self._said = ""
        self._held: list[Mapping[str, Any]] = []
        self.is_call: bool | None = None
        """None until it is known."""

    def hear(self, choice: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Take in what a chunk says of the choice; what of it may be told now. Thoughts always may."""
        text = (choice.get("delta") or {}).get("content")
        if self.is_call is not None or not (text or self._held or choice.get("finish_reason")):
            return [choice]
        self._held.append(choice)
        self._said += text or ""
        said = _compact(self._said)
        if any(said.startswith(head) for head in self._heads):
            self.is_call = True
        elif choice.get("finish_reason") or not any(head.startswith(said) for head in self._heads):
            self.is_call = False
        if self.is_call is None:
            return []
        held, self._held = self._held, []
        return held


def head_of_call(name: str) -> str:
    """How a call begins, without free whitespace. No answer may begin so that is not one."""
    return f'{{"name":"{name}","arguments":{{'


def _compact(json: str) -> str:
    """The beginning of a JSON text without free whitespace; none of its strings holds an escape that matters here."""
    parts = json.split('"')
    return '"'.join(part if place % 2 else "".join(part.split()) for place, part in enumerate(parts))
