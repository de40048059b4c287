"""How much a JSON schema makes llguidance work, told beforehand (docs/security.md S25). Pure.

llguidance bounds the work for each token itself, to some 20 ms. What it does not bound is compiling a schema, which is
done here, and again in the thread that writes everybody's answers: 30 patterns that must hold together took all memory,
references behind each other 1300 deep ended the process, `multipleOf` 999983 took seven seconds. Long enums and single
patterns, whatever they repeat, cost next to nothing (3000 words: 7 ms).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, TypeGuard

from inference_service.answers.schema_places import MAX_STEPS, Places
from jan.json_schema import children, referred_to, schemas

MAX_CHOICES: Final = 480
"""Optional properties and branches at one place: four of its items each, of which it takes 2000 at a time."""
MAX_CHOICES_IN_ALL: Final = 2_000
"""A second, if each place has as many as it may."""
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
_VALUES: Final = ("enum", "const")
_NEVER_READ: Final = "default"


def too_much(schema: Mapping[str, Any], places: Places) -> str:
    """What of a schema is too much for llguidance, in words; "" when nothing is. `places` are its own."""
    nodes = [node for _, node in schemas(schema)]
    known = {id(node) for node in nodes}
    for node in nodes:
        target = referred_to(schema, node)
        if isinstance(node.get("$ref"), str) and not (isinstance(target, bool) or id(target) in known):
            return f"a reference that does not lead to a schema in it ({node['$ref'][:64]!r})"
        if node is not schema and any(isinstance(node.get(key), str) for key in _NAMES):
            return "a name of its own for a part of it ('$id')"
    if any(abs(number) > MAX_NUMBER for node in nodes for number in _numbers(node)):
        return f"a number beyond {MAX_NUMBER:.1e}"
    if places.steps > MAX_STEPS:
        return "too many parts that hold together, with all branches written out"
    definitions = {id(target): target for node in nodes if (target := referred_to(schema, node)) is not None}
    counts = (
        ("optional properties and branches at one place", max(places.choices, default=0), MAX_CHOICES),
        ("optional properties and branches", sum(places.choices), MAX_CHOICES_IN_ALL),
        ("items of lists and digits of 'multipleOf'", sum(map(_counted, nodes)), MAX_COUNTED),
        ("patterns of properties", sum(map(_pattern_properties, nodes)), MAX_PATTERN_PROPERTIES),
        ("levels with all that it refers to", sum(map(_depth, (schema, *definitions.values()))), MAX_DEPTH),
        ("patterns and formats for one string", places.conditions, MAX_CONDITIONS),
    )
    return next((f"{count} {what}, of which {most} are taken" for what, count, most in counts if count > most), "")


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value of JSON is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(node: Mapping[str, Any]) -> Iterator[float]:
    for keyword, value in node.items():
        if keyword in _VALUES:
            yield from _numbers_in(value)
        elif keyword != _NEVER_READ and is_number(value):
            yield value


def _numbers_in(value: Any) -> Iterator[float]:
    if is_number(value):
        yield value
    for child in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _numbers_in(child)


def _depth(schema: Any) -> int:
    return 1 + max((_depth(child) for _, child in children(schema)), default=0) if isinstance(schema, Mapping) else 0


def _counted(node: Mapping[str, Any]) -> int:
    multiple = node.get("multipleOf")
    digits = Decimal(str(multiple)).as_tuple().digits if is_number(multiple) else ()
    step = int("".join(map(str, digits)).rstrip("0") or 0)
    return step + sum(int(node[key]) for key in ("minItems", "maxItems") if is_number(node.get(key)))


def _pattern_properties(node: Mapping[str, Any]) -> int:
    patterns = node.get("patternProperties")
    return len(patterns) if isinstance(patterns, Mapping) else 0
