"""Open-ended values travel as JSON text in fields named `*_json` (see protos/jan/storage/v1/threads.proto)."""

from __future__ import annotations

from typing import Any

import orjson

from jan.errors import InvalidArgumentError

# A file that holds a few of these stays below what storage reads.
MAX_SENT_LENGTH = 1024 * 1024


def to_text(value: Any) -> str:
    """The JSON text of a value; empty for None, which means absent."""
    return "" if value is None else orjson.dumps(value).decode()


def sent_to_text(value: Any, param: str) -> str:
    """The JSON text of an open-ended value that a request holds; empty for None.

    Raises InvalidArgumentError: longer than `MAX_SENT_LENGTH`.
    """
    text = to_text(value)
    if len(text) > MAX_SENT_LENGTH:
        raise InvalidArgumentError(
            f"Invalid '{param}': it may hold at most {MAX_SENT_LENGTH} characters of JSON.",
            param=param,
            code="string_above_max_length",
        )
    return text


def from_text(text: str, default: Any = None) -> Any:
    """The value of a JSON text; the default when it is empty."""
    return orjson.loads(text) if text else default


def string_map(text: str) -> dict[str, str]:
    """Metadata as OpenAI's clients expect it: a map of strings; Jan's other values as their JSON text."""
    values = from_text(text, {})
    return {key: value if isinstance(value, str) else orjson.dumps(value).decode() for key, value in values.items()}
