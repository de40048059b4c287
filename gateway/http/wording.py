"""OpenAI's words for what is wrong with a value, as its live service says them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

MAX_ECHO: Final = 200
"""How much of a stranger's text an error repeats."""


def wrong_type(name: str, expected: str, got: Any) -> str:
    """A value of another type. expected: with its article."""
    return f"Invalid type for '{name}': expected {expected}, but got {kind_of(got)} instead."


def kind_of(value: Any) -> str:
    """A JSON value's type, with its article."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal"
        case str():
            return "a string"
        case list():
            return "an array"
    return "an object"


def unsupported_value(got: str, supported: Iterable[str]) -> str:
    """A text that is none of those that may stand there."""
    *first, last = [f"'{one}'" for one in supported]
    told = f"{', '.join(first)}{',' if len(first) > 1 else ''} and {last}" if first else last
    return f"Invalid value: '{got[:MAX_ECHO]}'. Supported values are: {told}."


def out_of_bounds(name: str, what: str, sign: str, bound: Any, got: Any) -> str:
    """A number beyond its bound. what: as `integer below minimum value`. sign: how it must compare with the bound."""
    told = f"{got}"[:MAX_ECHO]
    return f"Invalid '{name}': {what}. Expected a value {sign} {bound}, but got {told} instead."


def too_long(name: str, kind: str, most: int, got: int) -> str:
    """A string or an array."""
    article = "an" if kind == "array" else "a"
    return (
        f"Invalid '{name}': {kind} too long. Expected {article} {kind} with maximum length {most}, but got {article} "
        f"{kind} with length {got} instead."
    )


def too_short(name: str, kind: str, least: int, got: int) -> str:
    """A string or an array, most often an empty one."""
    article = "an" if kind == "array" else "a"
    fault = f"{kind} too short" if got else f"empty {kind}"
    told = f"{article} {kind} with length {got}" if got else f"an empty {kind}"
    return f"Invalid '{name}': {fault}. Expected {article} {kind} with minimum length {least}, but got {told} instead."


def too_many_properties(name: str, most: int, got: int) -> str:
    """An object."""
    return (
        f"Invalid '{name}': too many properties. Expected an object with at most {most} properties, but got {got} "
        "properties instead."
    )


def no_match(name: str, pattern: str) -> str:
    """A string that is not of the form."""
    return f"Invalid '{name}': string does not match pattern. Expected a string that matches the pattern '{pattern}'."
