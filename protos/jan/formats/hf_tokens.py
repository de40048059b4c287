"""The special tokens of a Hugging Face tokenizer: those that it reads in any text, whoever wrote it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from jan.formats.description import LyingHeaderError
from jan.formats.turn_marks import CLOSES, OPENS, marks_turns

_MAX_BYTES: Final = 256 * 1024 * 1024
_FILES: Final = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


def special_tokens(folder: Path, templates: Collection[str]) -> list[str]:
    """The marked ones of all files of the tokenizer in `folder`, and what is written like a mark (`<|…|>`).

    templates: the model's chat templates, for the marks that only these tell. Tokens that a model's users write on
    purpose, such as `<think>`, are not among them. Reads files: not for the event loop. Raises LyingHeaderError: a file
    is no JSON object, or larger than any tokenizer. OSError.
    """
    found: set[str] = set()
    for name in _FILES:
        if (folder / name).is_file():
            found.update(_special(_read(folder / name), templates))
    return sorted(found - {""})


def _read(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MAX_BYTES:
        raise LyingHeaderError(f"its {path.name} is larger than any")
    try:
        value = orjson.loads(path.read_bytes())
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise LyingHeaderError(f"its {path.name} is not a JSON object")
    return value


def _special(tokenizer: dict[str, Any], templates: Collection[str]) -> Iterator[str]:
    """All forms in which the files of the years tell it."""
    decoder = tokenizer.get("added_tokens_decoder")
    added = [*_items(tokenizer.get("added_tokens")), *(decoder.values() if isinstance(decoder, dict) else ())]
    for token in added:
        text = _text(token)
        marked = isinstance(token, dict) and token.get("special")
        if marked or _looks_special(text) or marks_turns(text, templates):
            yield text
    for key, value in tokenizer.items():
        if key.endswith("_token"):
            yield _text(value)
        elif key.endswith("special_tokens"):  # a list, or by name
            yield from map(_text, value.values() if isinstance(value, dict) else _items(value))
        elif _looks_special(key) or (
            isinstance(value, int) and marks_turns(key, templates)
        ):  # added_tokens.json: the number by the token
            yield key


def _text(token: object) -> str:
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else ""


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _looks_special(text: str) -> bool:
    return len(text) > 4 and (text.startswith(OPENS) or text.endswith(CLOSES))
