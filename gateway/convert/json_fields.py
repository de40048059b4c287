"""Open-ended values travel as JSON text in fields named `*_json` (see protos/jan/storage/v1/threads.proto)."""

from __future__ import annotations

from typing import Any

import orjson

from jan.errors import InvalidArgumentError

# A file that holds one of these whole stays far below what storage reads.
MAX_SENT_BYTES = 1024 * 1024


def to_text(value: Any) -> str:
    """The JSON text of a value; empty for None, which means absent."""
    return "" if value is None else orjson.dumps(value).decode()


def sent_to_text(value: Any, param: str) -> str:
    """The JSON text of an open-ended value that a request holds; empty for None.

    Raises InvalidArgumentError: longer than `MAX_SENT_BYTES`, or a number that 64 bits cannot hold.
    """
    try:
        text = to_text(value)
    except orjson.JSONEncodeError:
        raise InvalidArgumentError(
            f"Invalid '{param}': it holds a number beyond 64 bits.", param=param, code="invalid_value"
        ) from None
    if len(text) > MAX_SENT_BYTES:
        raise InvalidArgumentError(
            f"Invalid '{param}': it may hold at most {MAX_SENT_BYTES} bytes of JSON.", param=param, code="invalid_value"
        )
    return text


def from_text(text: str, default: Any = None) -> Any:
    """The value of a JSON text; the default when it is empty."""
    return orjson.loads(text) if text else default


def string_map(text: str) -> dict[str, str]:
    """Metadata as OpenAI's clients expect it: a map of strings; Jan's other values as their JSON text."""
    values = from_text(text, {})
    return {key: value if isinstance(value, str) else orjson.dumps(value).decode() for key, value in values.items()}
