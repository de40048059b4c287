"""Telling keys from other settings: Jan kept them in plain text, in engines/ and settings/.

A text is a secret when a field on its way says so by its name, or when it carries one itself: the user's part of a URL
(RFC 3986, 3.2.1), or what is given to such a name within a text (`?api_key=…`, `--token=…`, `Authorization: …`).
Rather too much is taken than too little.
"""

import re
from collections.abc import Iterator
from typing import Any

_SECRET = re.compile(
    r"key(?!words?(?:_|$)|boards?(?:_|$))|token(?!i[sz])|secret|passw|passphrase|passcode|(?:^|_)(?:pass|pat)(?:_|$)|pwd"
    r"|credential|auth(?!or(?!i))|bearer|headers?(?:_|$)|cookie|jwt"
)
# `max_tokens` and `eos_token` are no secrets, and older releases wrote numbers as texts.
_HARMLESS = re.compile(
    r"(?:^|_)(?:(?:max|min|num|n|ctx|context|prompt|completion|total|cached)(?:_(?:new|output|context|prompt|completion))?"
    r"|bos|eos|eot|eom|unk|pad|sep|cls|mask|stop|special|added|image|audio|video|tokenizer_ggml)_?tokens?(?=_|$)"
    r"|(?:^|_)tokens?_(?:count|limit|per)(?=_|$)"
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+|\d+")
_CARRIED = re.compile(r"://[^/?#\s]*@|\bbearer\s+\S{8}", re.IGNORECASE)
_GIVEN = re.compile(r"(?<![\w-])(?:([\w-]+)[\"']?\s*[=:]\s*(?!//)\S|(--[\w-]+)\s+[^\s-])")
# Longer texts and templates are no arguments or headers, whatever words are in them.
_GIVEN_WITHIN = 1000
_TEMPLATE = re.compile(r"\{[{%]|<\|")
# How lists tell names and values: `{"name": "API_KEY", "value": "…"}`.
_PAIR_NAMES = ("name", "key", "header")


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


def is_secret(name: str) -> bool:
    """Whether what has this name is a secret, as far as a name can say it."""
    words = "_".join(_WORDS.findall(name)).lower()
    return bool(_SECRET.search(_HARMLESS.sub("", words)))


class _Take:
    """Empties one place in a list or an object."""

    def __init__(self, home: Any, place: Any) -> None:
        self._home = home
        self._place = place

    def __call__(self) -> None:
        self._home[self._place] = ""


def _found(value: Any) -> Iterator[tuple[str, _Take]]:
    """The secrets with their names, however deep they lie."""
    waiting = [(value, "", False)]
    while waiting:
        item, owner, below_secret = waiting.pop()
        for home, place, name in _places(item):
            inner = home[place]
            secret = below_secret or is_secret(name)
            named = owner if below_secret else name or owner
            if not isinstance(inner, str):
                waiting.append((inner, named, secret))
            elif inner and (secret or _carries_secret(inner) or _is_after_option(home, place)):
                yield named, _Take(home, place)


def _places(value: Any) -> Iterator[tuple[Any, Any, str]]:
    """Where a list or an object holds something, and under which name."""
    if isinstance(value, list):
        for index in range(len(value)):
            yield value, index, ""
    elif isinstance(value, dict):
        named, controller = value.get("key"), value.get("controllerProps")
        if isinstance(named, str) and isinstance(controller, dict):
            yield from _fields({key: key for key in value if key != "controllerProps"} | {"key": ""}, value)
            yield from _fields({key: key for key in controller} | {"value": named}, controller)
        else:
            yield from _fields({key: key for key in value} | _pair(value), value)


def _fields(called: dict[str, str], home: dict[str, Any]) -> Iterator[tuple[Any, Any, str]]:
    """The fields of an object that it has, by what they are called."""
    return ((home, key, name) for key, name in called.items() if key in home)


def _pair(value: dict[str, Any]) -> dict[str, str]:
    """What the two fields are called of an object that is but a name and a value."""
    named = next((name for name in _PAIR_NAMES if isinstance(value.get(name), str)), "")
    return {named: "", "value": value[named]} if named and "value" in value else {}


def _carries_secret(text: str) -> bool:
    if _CARRIED.search(text):
        return True
    if len(text) > _GIVEN_WITHIN or _TEMPLATE.search(text):
        return False
    return any(is_secret(found[1] or found[2]) for found in _GIVEN.finditer(text))


def _is_after_option(home: Any, place: Any) -> bool:
    """Whether an argument is what the one before it asks for, as in `["--api-key", "…"]`."""
    before = home[place - 1] if isinstance(home, list) and place else ""
    return isinstance(before, str) and before.startswith("-") and is_secret(before)
