"""Request parameters from several layers, laid over each other key by key.

Jan's files hold parameters in several spellings and, in one generation, numbers as text; here they become OpenAI's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

# Jan's older name -> OpenAI's: token_limit is max_tokens.
_ALIASES = {"token_limit": "max_tokens", "max_completion_tokens": "max_tokens"}
_FLOATS = frozenset(
    {"temperature", "top_p", "min_p", "frequency_penalty", "presence_penalty", "repeat_penalty", "typ_p"}
)
_INTEGERS = frozenset({"max_tokens", "seed", "top_k", "repeat_last_n"})


def layered(*layers: dict[str, Any]) -> dict[str, Any]:
    """Lay parameters over each other, the last layer on top; null and empty lists say nothing."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= {name: value for name, value in layer.items() if value is not None and value != []}
    return merged


def stored_parameters(text: str) -> dict[str, Any]:
    """The parameters of a JSON object in a file, in OpenAI's spelling; what is no request parameter is left out."""
    values = orjson.loads(text) if text else {}
    return dict(_known(values.items()))


def _known(items: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    for spelt, value in items:
        name = _ALIASES.get(spelt, spelt)
        number = _number(value)
        if name in _FLOATS and number is not None:
            yield name, number
        elif name in _INTEGERS and number is not None:
            yield name, int(number)
        elif name == "stop" and isinstance(value, str | list):
            yield name, value


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except ValueError:
        return None
