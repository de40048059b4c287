"""Open-ended values travel as JSON text in fields named `*_json` (see protos/jan/storage/v1/threads.proto)."""

from __future__ import annotations

from typing import Any

import orjson


def to_text(value: Any) -> str:
    """The JSON text of a value; empty for None, which means absent."""
    return "" if value is None else orjson.dumps(value).decode()


def from_text(text: str, default: Any = None) -> Any:
    """The value of a JSON text; the default when it is empty."""
    return orjson.loads(text) if text else default


def string_map(text: str) -> dict[str, str]:
    """Metadata as OpenAI's clients expect it: a map of strings; Jan's other values as their JSON text."""
    values = from_text(text, {})
    return {key: value if isinstance(value, str) else to_text(value) for key, value in values.items()}
