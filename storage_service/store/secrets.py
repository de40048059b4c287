"""Telling keys from other settings: Jan kept them in plain text, in engines/ and settings/."""

import re
from collections.abc import Iterator
from typing import Any

_SECRET = re.compile(r"key|token|secret|password|authorization|credential", re.IGNORECASE)
# `max_tokens` is no secret, and neither is a number.
_HARMLESS = re.compile(r"tokens|^key$", re.IGNORECASE)


def names(value: Any) -> Iterator[str]:
    """The names of the fields of a JSON value that hold a secret."""
    for name, _ in _found(value):
        yield name


def blank(value: Any) -> list[str]:
    """Take every secret out of a JSON value, in place; answers the names of the fields that held one."""
    emptied = []
    for name, take in list(_found(value)):
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


def _found(value: Any) -> Iterator[tuple[str, _Take]]:
    """The secrets with their names, however deep they lie: every text in a field whose name says so."""
    waiting = [(value, "")]
    while waiting:
        item, owner = waiting.pop()
        for home, place, name in _places(item):
            inner = home[place]
            secret = owner or (name if _is_secret(name) else "")
            if not isinstance(inner, str):
                waiting.append((inner, secret))
            elif inner and secret:
                yield secret, _Take(home, place)


def _places(value: Any) -> Iterator[tuple[Any, Any, str]]:
    """Where a list or an object holds something, and under which name; an extension's setting tells its own."""
    if isinstance(value, list):
        for index in range(len(value)):
            yield value, index, ""
    elif isinstance(value, dict):
        named, controller = value.get("key"), value.get("controllerProps")
        if not isinstance(named, str) or not isinstance(controller, dict):
            for key in value:
                yield value, key, key
        elif "value" in controller:
            yield controller, "value", named


def _is_secret(name: str) -> bool:
    return bool(_SECRET.search(name)) and not _HARMLESS.search(name)
