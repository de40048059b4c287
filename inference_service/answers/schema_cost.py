"""How much a JSON schema makes llguidance work, told beforehand (docs/security.md S25). Pure.

llguidance bounds the work for each token itself, to some 20 ms. What it does not bound is compiling a schema, which is
done here, and again in the thread that writes everybody's answers: 30 patterns that must hold together took all memory,
references behind each other 1300 deep ended the process, `multipleOf` 999983 took seven seconds. Long enums and single
patterns, whatever they repeat, cost next to nothing (3000 words: 7 ms).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from jan.json_schema import optional_properties, referred_to

MAX_CHOICES: Final = 480
"""Optional properties and branches: four of its items each, of which it takes 2000 at a time."""
MAX_COUNTED: Final = 10_000
"""Bounds of lists and the digits of `multipleOf`, summed up: half a second."""
MAX_CONDITIONS: Final = 4
"""Patterns and formats that one string must satisfy together."""
MAX_DEPTH: Final = 1_000
"""Objects within each other in the schema, and in each definition that it refers to, summed up."""
MAX_PATTERN_PROPERTIES: Final = 32
MAX_NUMBER: Final = 2.0**63 - 1024
"""What fits llguidance's whole numbers; the constant -2**63 ended the process."""

_NAMES: Final = ("$id", "id", "$anchor")  # references by them could lead anywhere in the schema, uncounted
_DATA: Final = ("enum", "const", "default", "examples")
_MAPS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Keywords whose keys are names that somebody chose, of `_DATA` too."""


def too_much(schema: Mapping[str, Any]) -> str:
    """What of a schema is too much for llguidance, in words; "" when nothing is."""
    nodes = [node for node in _nodes(schema) if isinstance(node, Mapping)]
    known = {id(node) for node in _nodes(schema)}  # `true` is a schema as well
    for node in nodes:
        if isinstance(node.get("$ref"), str) and id(referred_to(schema, node)) not in known:
            return f"a reference that does not lead to a schema in it ({node['$ref'][:64]!r})"
        if node is not schema and any(isinstance(node.get(key), str) for key in _NAMES):
            return "a name of its own for a part of it ('$id')"
    if any(abs(number) > MAX_NUMBER for number in _numbers(schema)):
        return f"a number beyond {MAX_NUMBER:.1e}"
    definitions = {id(target): target for node in nodes if (target := referred_to(schema, node)) is not None}
    counts = (
        ("optional properties and branches", sum(map(_choices, nodes)), MAX_CHOICES),
        ("items of lists and digits of 'multipleOf'", sum(map(_counted, nodes)), MAX_COUNTED),
        ("patterns of properties", sum(map(_pattern_properties, nodes)), MAX_PATTERN_PROPERTIES),
        ("levels with all that it refers to", sum(map(_depth, (schema, *definitions.values()))), MAX_DEPTH),
        ("patterns and formats for one string", _Conditions(schema).most(nodes), MAX_CONDITIONS),
    )
    return next((f"{count} {what}, of which {most} are taken" for what, count, most in counts if count > most), "")


def _nodes(value: Any) -> Iterator[Any]:
    yield value
    for child in _children(value):
        yield from _nodes(child)


def _numbers(value: Any) -> Iterator[float]:
    if _is_number(value):
        yield value
    for child in value.values() if isinstance(value, Mapping) else _list(value):
        yield from _numbers(child)


def _children(value: Any) -> list[Any]:
    if not isinstance(value, Mapping):
        return _list(value)
    children: list[Any] = []
    for key, child in value.items():
        if key in _MAPS and isinstance(child, Mapping):
            children += child.values()
        elif key not in _DATA:
            children.append(child)
    return children


def _depth(value: Any) -> int:
    return isinstance(value, Mapping) + max(map(_depth, _children(value)), default=0)


def _choices(node: Mapping[str, Any]) -> int:
    return optional_properties(node) + _length(node.get("anyOf")) + _length(node.get("oneOf"))


def _counted(node: Mapping[str, Any]) -> int:
    multiple = node.get("multipleOf")
    digits = Decimal(str(multiple)).as_tuple().digits if _is_number(multiple) else ()
    step = int("".join(map(str, digits)).rstrip("0") or 0)
    return step + sum(int(node[key]) for key in ("minItems", "maxItems") if _is_number(node.get(key)))


def _pattern_properties(node: Mapping[str, Any]) -> int:
    patterns = node.get("patternProperties")
    return len(patterns) if isinstance(patterns, Mapping) else 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _length(value: object) -> int:
    return len(value) if isinstance(value, Sequence) and not isinstance(value, str) else 0


class _Conditions:
    """How many patterns and formats hold for the same string: those of a schema and of all that stands in its place."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._known: dict[int, int] = {}

    def most(self, nodes: Sequence[Mapping[str, Any]]) -> int:
        return max(map(self.of, nodes), default=0)

    def of(self, node: Any) -> int:
        if not isinstance(node, Mapping):
            return 0
        if id(node) not in self._known:
            self._known[id(node)] = 0  # a loop that leads back here adds nothing
            own = isinstance(node.get("pattern"), str) + isinstance(node.get("format"), str)
            all_of = sum(map(self.of, _list(node.get("allOf"))))
            one_of = sum(max(map(self.of, _list(node.get(key))), default=0) for key in ("anyOf", "oneOf"))
            self._known[id(node)] = own + all_of + one_of + self.of(referred_to(self._root, node))
        return self._known[id(node)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
