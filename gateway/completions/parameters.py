"""Request parameters from several layers, laid over each other key by key.

Jan's files hold parameters in several spellings and, in one generation, numbers as text; here they become OpenAI's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

# Other names -> the one that engines are told.
_ALIASES = {"token_limit": "max_tokens", "max_completion_tokens": "max_tokens", "typ_p": "typical_p"}
_INTEGERS = frozenset({"max_tokens", "seed", "top_k", "repeat_last_n", "mirostat", "min_keep"})
# What an engine can make sense of; a value outside is left out, as one that is no number.
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "typical_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "repeat_penalty": (0, 2),
    "max_tokens": (1, 2**31 - 1),
    "seed": (-(2**31), 2**32 - 1),
    "top_k": (0, 2**31 - 1),
    "repeat_last_n": (-1, 2**31 - 1),
    "mirostat": (0, 2),
    "mirostat_tau": (0, 100),
    "mirostat_eta": (0, 1),
    "dynatemp_range": (0, 2),
    "dynatemp_exponent": (0, 100),
    "min_keep": (0, 2**31 - 1),
}
_FLAGS = frozenset({"ignore_eos"})

NAMES = (*_RANGES, *_FLAGS, "stop")
"""Every parameter that a file may set."""

_OPENAIS = frozenset(
    {"temperature", "top_p", "frequency_penalty", "presence_penalty", "max_tokens", "seed", "stop"},
)
_HONOURED = {
    "llamacpp": frozenset(NAMES),
    "vllm": _OPENAIS | {"top_k", "min_p", "repeat_penalty", "ignore_eos"},
}
"""What each engine makes of them; a model elsewhere is told OpenAI's alone."""

OF_REQUESTS = frozenset({"stream", "engine"})
"""What Jan wrote among the parameters that no answer depends on: each request says itself whether it is streamed."""


def layered(*layers: dict[str, Any]) -> dict[str, Any]:
    """Lay parameters over each other, the last layer on top; null and empty lists say nothing."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= {name: value for name, value in layer.items() if value is not None and value != []}
    return merged


def stored_parameters(text: str) -> dict[str, Any]:
    """The parameters of a JSON object in a file, in OpenAI's spelling; what is no request parameter is left out."""
    return known_parameters(orjson.loads(text) if text else {})


def known_parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same of an object that was parsed."""
    return dict(_known(values.items()))


def changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """An object of a file with some keys set, or taken out where the change is None, whatever it called them."""
    names = {spelt(name) for name in changes}
    kept = {name: value for name, value in values.items() if spelt(name) not in names}
    return kept | {name: value for name, value in changes.items() if value is not None}


def spelt(name: str) -> str:
    """The name that engines are told for one that a file may have."""
    return _ALIASES.get(name, name)


def unused_parameters(values: Mapping[str, Any], engine: str) -> list[str]:
    """The names, as the file has them, of parameters that change no answer of a model of this engine."""
    honoured = _HONOURED.get(engine, _OPENAIS)
    read = known_parameters(values)
    return [
        name
        for name, value in values.items()
        if value is not None and (spelt(name) not in read or spelt(name) not in honoured)
    ]


def _known(items: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    for written, value in items:
        name = spelt(written)
        if name in _RANGES:
            number = _number(value)
            lowest, highest = _RANGES[name]
            if number is not None and lowest <= number <= highest:
                yield name, int(number) if name in _INTEGERS else number
        elif name in _FLAGS and str(value).lower() in ("true", "false"):
            yield name, str(value).lower() == "true"
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
