"""Telling keys from other settings: Jan kept them in plain text, in engines/ and settings/."""

import re
from collections.abc import Iterator
from typing import Any

_SECRET = re.compile(r"key|token|secret|password|authorization|credential", re.IGNORECASE)
# `max_tokens` is no secret, and neither is a number.
_HARMLESS = re.compile(r"tokens|^key$", re.IGNORECASE)
_MAX_DEPTH = 32


def names(value: Any) -> Iterator[str]:
    """The names of the fields of a JSON value that hold a secret."""
    for name, _ in _found(value, _MAX_DEPTH):
        yield name


def blank(value: Any) -> list[str]:
    """Take every secret out of a JSON value, in place; answers the names of the fields that held one."""
    emptied = []
    for name, take in list(_found(value, _MAX_DEPTH)):
        take()
        emptied.append(name)
    return emptied


class _Take:
    """Empties one place in a list or an object."""

    def __init__(self, home: Any, place: Any) -> None:
        self._home = home
        self._place = place

    def __call__(self) -> None:
        self._home[self._place] = ""


def _found(value: Any, depth: int) -> Iterator[tuple[str, _Take]]:
    """The secrets with their names; an extension's setting has its name and its value side by side."""
    if depth < 0:
        return
    if isinstance(value, list):
        for item in value:
            yield from _found(item, depth - 1)
    elif isinstance(value, dict):
        named, controller = value.get("key"), value.get("controllerProps")
        if isinstance(named, str) and isinstance(controller, dict):
            yield from _field(controller, "value", named, depth)
            return
        for key in value:
            yield from _field(value, key, key, depth)


def _field(home: dict[str, Any], key: str, name: str, depth: int) -> Iterator[tuple[str, _Take]]:
    value = home.get(key)
    if not _SECRET.search(name) or _HARMLESS.search(name):
        yield from _found(value, depth - 1)
    elif isinstance(value, str):
        if value:
            yield name, _Take(home, key)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            if isinstance(item, str) and item:
                yield name, _Take(value, place)
            else:
                yield from _found(item, depth - 1)
    else:
        yield from _found(value, depth - 1)
