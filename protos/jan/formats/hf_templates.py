"""The chat templates of a Hugging Face folder, wherever the years have put them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import orjson

_MAX_BYTES: Final = 4 * 1024 * 1024


def chat_templates(folder: Path) -> dict[str, str]:
    """Every template by its file and its name there. Reads files: not for the event loop. Raises OSError."""
    found: dict[str, str] = {}
    for path in (*folder.glob("*.jinja"), *folder.glob("additional_chat_templates/*.jinja")):
        found[path.name] = path.read_text("utf-8", "replace")
    for path in folder.glob("*.json"):
        if path.stat().st_size <= _MAX_BYTES and b"chat_template" in (data := path.read_bytes()):
            found |= {f"{path.name} {name}".strip(): text for name, text in _told_in(data).items()}
    return found


def _told_in(data: bytes) -> dict[str, str]:
    """One text, texts by name, or a list of names and texts."""
    try:
        value = orjson.loads(data)
    except ValueError:
        return {}
    told: Any = value.get("chat_template") if isinstance(value, dict) else None
    if isinstance(told, list):
        told = {str(one.get("name")): one.get("template") for one in told if isinstance(one, dict)}
    named = told if isinstance(told, dict) else {"": told}
    return {str(name): text for name, text in named.items() if isinstance(text, str)}
