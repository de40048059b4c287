"""What all that look at a JSON schema from a stranger must read in the same way. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

Path = tuple[str, ...]

_MAPS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Keywords whose keys are names that somebody chose, and may be those of `_DATA`."""
_DATA: Final = ("enum", "const", "default", "examples")
"""Keywords whose values look like schemas at most."""


def children(schema: Mapping[str, Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Each schema that is an object right below a schema, with its place.

    What stands under keywords that nobody knows is taken for one too, as references may lead there.
    """
    for keyword, value in schema.items():
        if keyword in _DATA:
            continue
        below: list[tuple[Path, Any]]
        if isinstance(value, list):
            below = [((keyword, str(place)), child) for place, child in enumerate(value)]
        elif isinstance(value, Mapping) and keyword in _MAPS:
            below = [((keyword, name), child) for name, child in value.items()]
        else:
            below = [((keyword,), value)]
        yield from ((steps, child) for steps, child in below if isinstance(child, Mapping))


def schemas(schema: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The schema and all `children` of it and of them, with their places."""
    yield path, schema
    for steps, child in children(schema):
        yield from schemas(child, (*path, *steps))


def rewritten(schema: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """A schema in which each that `schemas` finds is what `change` makes of it, the innermost first."""
    if isinstance(schema, list):
        return [rewritten(item, change) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    told: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _MAPS and isinstance(value, Mapping):
            told[keyword] = {name: rewritten(child, change) for name, child in value.items()}
        else:
            told[keyword] = value if keyword in _DATA else rewritten(value, change)
    return change(told)


def referred_to(root: Any, node: Mapping[str, Any]) -> Any:
    """What the `$ref` of a schema means within the whole, a JSON pointer in a URI's fragment (RFC 6901 section 6).

    None when it has none, when it leads elsewhere, and when nothing is there.
    """
    reference = node.get("$ref")
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return None
    target = root
    for part in unquote(reference).split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(target, list) and key.isdecimal() and int(key) < len(target):
            target = target[int(key)]
        else:
            target = target.get(key) if isinstance(target, Mapping) else None
    return target


def optional_properties(node: Mapping[str, Any]) -> int:
    """How many of a schema's properties may be left out."""
    properties, required = node.get("properties"), node.get("required")
    if not isinstance(properties, Mapping):
        return 0
    names = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
    return len(properties.keys() - names)
