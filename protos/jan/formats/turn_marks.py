"""Which tokens of a vocabulary mark turns, though its files do not say so. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

OPENS: Final = ("<|", "<\uff5c")
CLOSES: Final = ("|>", "\uff5c>")
"""How most models write their turn marks; the second with DeepSeek's wide bar."""

_WRITTEN_ON_PURPOSE: Final = frozenset(
    f"<{slash}{name}>" for name in ("think", "tool_call", "tool_response", "tools") for slash in ("", "/")
)
"""Chat templates look for these in what people and models wrote."""


def marks_turns(token: str, templates: Iterable[str]) -> bool:
    """Whether a token that is read wherever it is spelled stands in one of the model's chat templates (Gemma's do).

    Words, spaces and signs alone are no marks, whatever the vocabulary has: they stand in every program and text.
    """
    if len(token) < 2 or token in _WRITTEN_ON_PURPOSE:
        return False
    mixed = any(map(str.isalnum, token)) and not all(one.isalnum() or one.isspace() for one in token)
    return mixed and any(token in template for template in templates)
