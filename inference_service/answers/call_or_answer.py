"""Tells a function's call from an answer, where a model may write either and a schema binds both. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class CallOrAnswer:
    """Reads one choice from its first piece on; what it says is held back until it is known which of both it is."""

    def __init__(self, names: Iterable[str]) -> None:
        """`names`: of the functions whose call it may be, written as `{"name": ..., "arguments": {...}}`."""
        self._heads = [f'{{"name":"{name}","arguments":{{' for name in names]
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
        self._said += "".join((text or "").split())  # the head of a call has no spaces but free ones
        if any(self._said.startswith(head) for head in self._heads):
            self.is_call = True
        elif choice.get("finish_reason") or not any(head.startswith(self._said) for head in self._heads):
            self.is_call = False
        if self.is_call is None:
            return []
        held, self._held = self._held, []
        return held
