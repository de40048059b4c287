"""Reading single fields that may be missing, misspelt or of the wrong type, and laying changes over a file's JSON."""

import math
from enum import StrEnum
from typing import Any, TypeVar

from storage_service.store.records import JsonObject

# Jan wrote seconds, float seconds and milliseconds; 1e11 seconds are the year 5138, 1e11 milliseconds 1973.
_MILLISECONDS_ABOVE = 1e11
# Protobuf timestamps end with the year 9999; what lies beyond is not a time.
_LAST_MS = 253_402_300_799_999


WordT = TypeVar("WordT", bound=StrEnum)


def word(words: type[WordT], value: str, default: WordT) -> WordT:
    """The member that a string names, or the default."""
    try:
        return words(value)
    except ValueError:
        return default


def text(raw: JsonObject, key: str, default: str = "") -> str:
    """A string field; anything else reads as the default."""
    value = raw.get(key)
    return value if isinstance(value, str) else default


def optional_text(raw: JsonObject, key: str) -> str | None:
    """A string field, or None when it is absent or no string."""
    value = raw.get(key)
    return value if isinstance(value, str) else None


def obj(raw: JsonObject, key: str) -> JsonObject:
    """An object field; anything else reads as empty."""
    value = raw.get(key)
    return value if isinstance(value, dict) else {}


def optional_obj(raw: JsonObject, key: str) -> JsonObject | None:
    """An object field, or None."""
    value = raw.get(key)
    return value if isinstance(value, dict) else None


def objects(raw: JsonObject, key: str) -> list[JsonObject]:
    """A list field's objects; other items are left out."""
    value = raw.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def number(raw: JsonObject, key: str) -> float | None:
    """A finite number, also one written as text, as a draft of Jan's did; or None."""
    value = raw.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def integer(raw: JsonObject, key: str) -> int | None:
    """A whole number, or None."""
    value = number(raw, key)
    return None if value is None else int(value)


def time_ms(raw: JsonObject, *keys: str) -> int | None:
    """The first of `keys` that holds a time, in milliseconds; 0 and nonsense count as no time."""
    for key in keys:
        value = number(raw, key)
        if value is None or value <= 0:
            continue
        milliseconds = value if value > _MILLISECONDS_ABOVE else value * 1000
        if milliseconds <= _LAST_MS:
            return int(milliseconds)
    return None


def without_none(value: JsonObject) -> JsonObject:
    """The object without the keys that hold None."""
    return {key: item for key, item in value.items() if item is not None}


def overlay(raw: JsonObject, before: JsonObject, after: JsonObject) -> JsonObject:
    """A file's JSON with only the keys changed that differ between two encodings of its record.

    `before` is the record as read from `raw`, `after` as it is to be. Keys that did not change keep the file's
    own spelling and unit; a key that `after` lost goes.
    """
    changed: dict[str, Any] = {k: value for k, value in after.items() if k not in before or before[k] != value}
    lost = before.keys() - after.keys()
    return {key: value for key, value in (raw | changed).items() if key not in lost}
