"""Longer texts of a GGUF file whose header was read: its special tokens and chat templates."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from typing import BinaryIO, Final

from jan.formats.gguf import STRING, GgufHeader
from jan.formats.turn_marks import CLOSES, OPENS, marks_turns

_INT32: Final = 5
_CONTROL, _USER_DEFINED, _UNKNOWN = 3, 4, 2  # llama_token_type
_LENGTH = struct.Struct("<Q")
_TOKENS: Final = "tokenizer.ggml.tokens"
_TYPES: Final = "tokenizer.ggml.token_type"
_ENDS: Final = ("bos", "eos", "eot", "eom")
_TEMPLATE: Final = "tokenizer.chat_template"
_MAX_TEMPLATE_BYTES: Final = 4 * 1024 * 1024


def special_tokens(file: BinaryIO, header: GgufHeader, templates: Collection[str]) -> list[str]:
    """The tokens that llama.cpp reads as more than text when a prompt spells them: turn marks, ends, places for images.

    templates: the chat templates that are used, for the marks that only these tell. Tokens that a model's users write
    on purpose, such as `<think>`, are not among them. Raises OSError.
    """
    types = _numbers(file, header, _TYPES)
    named = {header.values.get(f"tokenizer.ggml.{name}_token_id") for name in _ENDS}
    return [
        token
        for number, token in enumerate(_texts(file, header, _TOKENS))
        if number in named or _is_special(token, types[number] if number < len(types) else 0, templates)
    ]


def chat_templates(file: BinaryIO, header: GgufHeader) -> dict[str, str]:
    """Every chat template by its key: the model's own, and those for tools and the like. Raises OSError."""
    found = {}
    for key, place in header.places.items():
        if key.startswith(_TEMPLATE) and place.value_type == STRING and key not in header.lengths:
            file.seek(place.offset)
            (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
            found[key] = file.read(min(length, _MAX_TEMPLATE_BYTES)).decode("utf-8", "replace")
    return found


def _is_special(token: str, token_type: int, templates: Collection[str]) -> bool:
    if token_type in (_CONTROL, _UNKNOWN):
        return True
    if token_type == _USER_DEFINED and marks_turns(token, templates):
        return True
    if len(token) <= 4:  # `<|` and `|>` are words of many a language
        return False
    opens, closes = token.startswith(OPENS), token.endswith(CLOSES)
    # Files made by careless converters have turn marks as ordinary tokens, which llama.cpp corrects by their looks.
    return (opens or closes) if token_type == _USER_DEFINED else (opens and closes)


def _numbers(file: BinaryIO, header: GgufHeader, key: str) -> tuple[int, ...]:
    place = header.places.get(key)
    if place is None or place.value_type != _INT32:
        return ()
    file.seek(place.offset)
    data = file.read(4 * header.lengths[key])
    return struct.unpack(f"<{len(data) // 4}i", data[: len(data) // 4 * 4])


def _texts(file: BinaryIO, header: GgufHeader, key: str) -> Iterator[str]:
    place = header.places.get(key)
    if place is None or place.value_type != STRING or key not in header.lengths:
        return
    file.seek(place.offset)
    for _ in range(header.lengths[key]):
        (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
        yield file.read(length).decode("utf-8", "replace")
