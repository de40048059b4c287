"""Request parameters from several layers, laid over each other key by key.

Jan's files hold parameters in several spellings and, in one generation, numbers as text; here they become OpenAI's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import orjson

# Jan's older name -> OpenAI's: token_limit is max_tokens.
_ALIASES = {"token_limit": "max_tokens", "max_completion_tokens": "max_tokens"}
_INTEGERS = frozenset({"max_tokens", "seed", "top_k", "repeat_last_n"})
# What an engine can make sense of; a value outside is left out, as one that is no number.
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "typ_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "repeat_penalty": (0, 2),
    "max_tokens": (1, 2**31 - 1),
    "seed": (-(2**31), 2**32 - 1),
    "top_k": (0, 2**31 - 1),
    "repeat_last_n": (-1, 2**31 - 1),
}


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
        if name in _RANGES:
            number = _number(value)
            lowest, highest = _RANGES[name]
            if number is not None and lowest <= number <= highest:
                yield name, int(number) if name in _INTEGERS else number
        elif name == "stop" and isinstance(value, str | list):
            yield name, value


def _number(value: Any) -> float | None:
    """A finite number from a number or, in one of Jan's generations, its text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
