"""How much the schema of a tool that may be called makes llama.cpp think, told beforehand (docs/security.md S25). Pure.

Its own grammars bind the calls that a model decides on; for all else see `answers/schema_cost.py`. They follow
every way in which a text may go on at once, for each token of the vocabulary, in the one thread that writes everybody's
answers: a choice among 3000 words held up all others for five seconds, and eighteen repeated choices in one pattern for
sixteen (SmolLM2-135M, two cores). Lengths and numbers of items cost nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from jan.errors import InvalidArgumentError
from jan.json_schema import optional_properties, referred_to

MAX_CHOICES: Final = 512
"""About as many as hold up the others for a second."""

_COUNTLESS: Final = 10**9
_PATTERN_FACTOR: Final = 4  # choices within a pattern are looked at again for every character
_ASIDE: Final = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\(\?", re.DOTALL)  # escapes, classes, and what begins a group
_REPEATS: Final = re.compile(r"[*+?{]")


def check_tools(request: Mapping[str, Any]) -> None:
    """Look at the schema of each tool of a chat. Raises InvalidArgumentError: one costs too much."""
    is_old = bool(request.get("answers_functions"))
    for place, tool in enumerate(request.get("tools") or ()):
        path = f"functions[{place}]" if is_old else f"tools[{place}].function"
        _check(tool["function"].get("parameters"), f"{path}.parameters")


def choices(schema: Any) -> int:
    """The choices that a schema offers, written out without references; those behind a loop are counted once."""
    try:
        return _Count(schema).of(schema)
    except RecursionError:  # hundreds of definitions, each behind the last
        return _COUNTLESS


class _Count:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._known: dict[int, int] = {}

    def of(self, node: Any) -> int:
        if isinstance(node, list):
            return sum(map(self.of, node))
        if not isinstance(node, Mapping):
            return 0
        if id(node) not in self._known:
            self._known[id(node)] = 0  # a loop that leads back here counts no more
            self._known[id(node)] = (
                _own(node) + sum(map(self.of, node.values())) + self.of(referred_to(self._root, node))
            )
        return self._known[id(node)]


def _own(node: Mapping[str, Any]) -> int:
    lists = sum(_length(node.get(key)) for key in ("enum", "anyOf", "oneOf"))
    pattern = node.get("pattern")
    return lists + optional_properties(node) + (_PATTERN_FACTOR * _weight(pattern) if isinstance(pattern, str) else 0)


def _weight(pattern: str) -> int:
    """Repetitions times alternatives: each repetition may begin, go on or end anew at every character."""
    bare = _ASIDE.sub("", pattern)
    return len(_REPEATS.findall(bare)) * (1 + bare.count("|"))


def _length(value: object) -> int:
    return len(value) if isinstance(value, Sequence) and not isinstance(value, str) else 0


def _check(schema: Any, param: str) -> None:
    count = choices(schema)
    if count > MAX_CHOICES:
        message = (
            f"This schema offers {_told(count)} choices (values of enums, branches, optional properties, repetitions "
            f"in patterns); this model's engine takes at most {MAX_CHOICES}."
        )
        raise InvalidArgumentError(message, param=param, code="schema_too_complex")


def _told(count: int) -> str:
    return str(count) if count < _COUNTLESS else "countless"
