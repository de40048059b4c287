"""The places in an answer, and which parts of its schema hold together at each. Pure.

Schemas meet at a place through `allOf`, `$ref` and `anyOf`, and so do those of properties of the same name in schemas
that meet. The compiler writes all that out, and so it is written out here, to be counted before the compiler begins.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from jan.json_schema import Path, referred_to, schemas

MAX_STEPS: Final = 100_000
"""How far a schema is written out: a quarter of a second."""

_ANNOTATIONS: Final = frozenset({"title", "description", "default", "examples", "$comment", "deprecated"})
_SCALARS: Final = frozenset({"null", "boolean", "integer", "number", "string"})
_VALUES: Final = frozenset({"enum", "const"})
_KINDS: Final = _SCALARS | {"array", "object"}

_ELSEWHERE: Final = re.compile(r"\[\[|--|&&|~~|\|\|")
"""What Python warns of in patterns."""

Schema = Mapping[str, Any]
Key = frozenset[int]


@dataclass(frozen=True, slots=True)
class Inner:
    """A place within another: what holds there, where the schema says it, and whether there must be something."""

    together: tuple[Schema, ...]
    key: Key
    path: Path
    is_needed: bool


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way to fill a place: the schemas that hold together then, and the places within."""

    schemas: tuple[Schema, ...]
    kinds: frozenset[str]
    parts: tuple[Inner, ...]
    optional: int
    """Properties that may be left out."""

    @property
    def conditions(self) -> int:
        """Patterns and formats for a text here; twice the same is one."""
        said = {(key, node[key]) for node in self.schemas for key in ("pattern", "format") if _is_text(node.get(key))}
        return len(said) if "string" in self.kinds else 0

    @property
    def needs(self) -> tuple[Inner, ...]:
        """What must be there for a value to be whole, where no value can do without."""
        is_whole = (
            self.kinds & _SCALARS or len(self.kinds) != 1 or any({"enum", "const"} & s.keys() for s in self.schemas)
        )
        return () if is_whole else tuple(part for part in self.parts if part.is_needed)


@dataclass(slots=True)
class Places:
    """All places of the answers to one schema. `steps` above `MAX_STEPS`: it was given up."""

    root: Schema
    steps: int = 0
    _paths: dict[int, Path] = field(default_factory=dict)
    _alternatives: dict[Key, tuple[Alternative, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Write the schema out."""
        self._paths = {id(node): path for path, node in schemas(self.root)}
        waiting: deque[tuple[Schema, ...]] = deque([(self.root,)])
        while waiting and self.steps <= MAX_STEPS:
            together = waiting.popleft()
            key = _key(together)
            if key in self._alternatives:
                continue
            ways = tuple(map(self._alternative, self._written_out(together)))
            self._alternatives[key] = ways
            waiting.extend(part.together for way in ways for part in way.parts)

    @property
    def conditions(self) -> int:
        """The most patterns and formats that hold for one text."""
        return max((way.conditions for ways in self._alternatives.values() for way in ways), default=0)

    @property
    def choices(self) -> Sequence[int]:
        """At each place: properties that may be left out, and branches."""
        return [sum(way.optional for way in ways) + (len(ways) > 1) * len(ways) for ways in self._alternatives.values()]

    def endless(self) -> Path | None:
        """Where an answer can only go on and on, as something must hold one like itself.

        None when that is nowhere, and when the schema was given up.
        """
        if self.steps > MAX_STEPS:
            return None
        ends: set[Key] = set()
        within = defaultdict(list)
        for key, ways in self._alternatives.items():
            for part in (part for way in ways for part in way.needs):
                within[part.key].append(key)
        waiting = deque(self._alternatives)
        while waiting:
            key = waiting.popleft()
            ways = self._alternatives[key]
            if key not in ends and (not ways or any(all(part.key in ends for part in way.needs) for way in ways)):
                ends.add(key)
                waiting.extend(within[key])
        return next((self._loop(key, ends) for key in self._alternatives if key not in ends), None)

    def _loop(self, key: Key, ends: set[Key]) -> Path:
        """Where the way down from a place that never ends comes to one where it has been."""
        been: set[Key] = set()
        path: Path = ()
        while key not in been:
            been.add(key)
            part = next(part for part in self._alternatives[key][0].needs if part.key not in ends)
            key, path = part.key, part.path
        return path

    def _written_out(self, together: Iterable[Schema]) -> Iterator[tuple[Schema, ...]]:
        """Each way to choose among the branches of schemas that hold together: all that holds then."""
        ways: list[tuple[dict[int, Schema], list[Any], tuple[list[Any], ...]]] = [({}, list(together), ())]
        while ways and self.steps <= MAX_STEPS:
            flat, todo, choices = ways.pop()
            while todo:
                node = todo.pop()
                if not isinstance(node, Mapping) or id(node) in flat:
                    continue
                flat[id(node)] = node
                todo += [*_list(node.get("allOf")), referred_to(self.root, node)]
                choices += tuple(branches for key in ("anyOf", "oneOf") if (branches := _list(node.get(key))))
            self.steps += len(flat)
            if choices:
                ways += [(dict(flat), [branch], choices[1:]) for branch in reversed(choices[0]) if branch is not False]
            else:
                yield tuple(flat.values())

    def _alternative(self, flat: tuple[Schema, ...]) -> Alternative:
        kinds = _KINDS.intersection(*map(_kinds, flat))
        parts: list[Inner] = []
        optional = 0
        for said, is_needed, is_named in (*_in_object(flat, kinds), *_in_array(flat, kinds)):
            self.steps += len(flat)
            optional += is_named and not is_needed
            if nodes := [node for node in said if isinstance(node, Mapping)]:
                together = tuple(map(self._resolved, nodes))
                parts.append(Inner(together, _key(together), self._paths.get(id(nodes[0]), ()), is_needed))
        return Alternative(flat, kinds, tuple(parts), optional)

    def _resolved(self, node: Schema) -> Schema:
        """What a schema refers to that says nothing else: the compiler writes such a one out once."""
        been: set[int] = set()
        while id(node) not in been and node.keys() - _ANNOTATIONS == {"$ref"}:
            been.add(id(node))
            target = referred_to(self.root, node)
            node = target if isinstance(target, Mapping) else node
        return node


def _key(together: Iterable[Schema]) -> Key:
    return frozenset(map(id, together))


def _in_object(flat: Sequence[Schema], kinds: frozenset[str]) -> Iterator[tuple[list[Any], bool, bool]]:
    """What is said of each property, of those by pattern, and of all others; is it needed, and is it a named one."""
    if "object" not in kinds:
        return
    needed = {name for node in flat for name in _list(node.get("required")) if isinstance(name, str)}
    named = dict.fromkeys(name for node in flat for name in _map(node, "properties"))
    for name in named:
        yield [said for node in flat for said in _said_of(node, name)], name in needed, True
    by_pattern = dict.fromkeys(text for node in flat for text in _map(node, "patternProperties"))
    for text in by_pattern:
        yield (
            [_map(node, "patternProperties").get(text, node.get("additionalProperties")) for node in flat],
            False,
            False,
        )
    others_needed = bool(needed - named.keys()) and not by_pattern
    yield [node.get("additionalProperties") for node in flat], others_needed, False


def _said_of(node: Schema, name: str) -> list[Any]:
    """What one schema says of a property."""
    said = [child for text, child in _map(node, "patternProperties").items() if _may_match(text, name)]
    if name in _map(node, "properties"):
        said.append(node["properties"][name])
    return said or [node.get("additionalProperties")]


def _in_array(flat: Sequence[Schema], kinds: frozenset[str]) -> Iterator[tuple[list[Any], bool, bool]]:
    if "array" not in kinds:
        return
    least = max((node["minItems"] for node in flat if isinstance(node.get("minItems"), int)), default=0)
    # `items` may be a list up to draft 2019-09.
    firsts = [_list(node.get("prefixItems")) or _list(node.get("items")) for node in flat]
    others = [node.get("additionalItems" if isinstance(node.get("items"), list) else "items") for node in flat]
    most = max(map(len, firsts))
    for place in range(most):
        said = [first[place] if place < len(first) else other for first, other in zip(firsts, others, strict=True)]
        yield said, place < least, False
    yield others, most < least, False


def _may_match(pattern: str, name: str) -> bool:
    try:
        return _ELSEWHERE.search(pattern) is not None or re.search(pattern, name) is not None
    except re.error:
        return True


def _kinds(node: Schema) -> frozenset[str]:
    match node.get("type"):
        case str(kind):
            return frozenset({kind})
        case [*kinds]:
            return frozenset(kind for kind in kinds if isinstance(kind, str))
    return _KINDS


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _map(node: Schema, keyword: str) -> Mapping[str, Any]:
    value = node.get(keyword)
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
