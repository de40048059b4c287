"""What models read as it is, without a chat around it: a text, texts, tokens or lists of tokens."""

from __future__ import annotations

from typing import Any

from pydantic_core import PydanticCustomError

_MAX_TOKEN = 2**31 - 1


def as_inputs(value: Any, most: int) -> list[str] | list[list[int]]:
    """A text, texts, tokens or lists of tokens as a list of texts or of lists of tokens, none of them empty.

    Raises PydanticCustomError: it is something else, or there are more than `most` of them.
    """
    inputs = [value] if isinstance(value, str) or (isinstance(value, list) and value and _is_token(value[0])) else value
    if not isinstance(inputs, list):
        raise PydanticCustomError("invalid_type", "It must be a text, a list of texts, or tokens")
    if not inputs:
        raise PydanticCustomError("too_short", "It cannot be empty")
    if len(inputs) > most:
        raise PydanticCustomError("too_long", "There may be at most {most} of them", {"most": most})
    if not (all(isinstance(one, str) for one in inputs) or all(map(_are_tokens, inputs))):
        raise PydanticCustomError("invalid_type", "It must be a text, a list of texts, or tokens")
    if not all(inputs):
        raise PydanticCustomError("string_too_short", "None of them may be empty")
    if any("\0" in one for one in inputs):
        raise PydanticCustomError("invalid_value", "A text cannot hold the character U+0000")
    return inputs


def _are_tokens(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_token, value))


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_TOKEN
