"""What of a schema does not bind, in words for whoever wrote it: llguidance says what, but not where. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Any, Final

from jan.json_schema import Path, schemas

FORMATS: Final = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
"""The formats of strings that bind, which are those that OpenAI binds."""

_KEYWORD: Final = re.compile(r"Unimplemented keys: \[\"([^\"]{1,64})\"")
_FORMAT: Final = re.compile(r"Unknown format: (.{1,64})")
_UNSATISFIABLE: Final = re.compile(r"Unsatisfiable schema: ([^\n]{1,200})")
_REASON: Final = re.compile(r"failed to compile JSON schema: (?!panic)([^\n]{1,200})")
_BASE: Final = "json-schema:///"
_MOST_CHARS: Final = 200
_BOUNDS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_EXCLUSIVE: Final = frozenset({"exclusiveMinimum", "exclusiveMaximum"})
_JOINS: Final = frozenset({"$ref", "anyOf", "allOf", "oneOf"})
_ESCAPES: Final = re.compile(r"\\[^AzQ]", re.DOTALL)
_RUST: Final = re.compile(r"\[[^\]]*(?:\[|&&|--|~~)|\(\?(?![:<])|\(\?<[=!]|\\[AzQ]")
"""What a pattern means in llguidance's language of them alone: classes in classes, flags, other anchors."""


def why_unbound(schema: Mapping[str, Any], error: str, unbound: Sequence[tuple[str, str]] = ()) -> str:
    """A sentence on what does not bind, and what to do.

    error: what llguidance says of the schema. unbound: the places and texts of patterns that it does not take.
    """
    if (found := _KEYWORD.search(error)) is not None:
        what = f"the keyword '{found[1]}'{_where(schema, found[1])} is not supported"
    elif (found := _FORMAT.search(error)) is not None:
        what = (
            f"the format '{found[1]}'{_where(schema, 'format', found[1])} is not supported ({', '.join(FORMATS)} are)"
        )
    elif unbound:
        place, text = unbound[0]
        what = f"the pattern {text!r}{place} is not supported: no look-arounds, back-references or flags"
    elif (found := _UNSATISFIABLE.search(error)) is not None:
        what = f"nothing can satisfy it ({found[1]})"
    else:
        found = _REASON.search(error)
        what = found[1].replace(_BASE, "") if found else "it is too complex"
    return sentence(what)


def inexact(schema: Mapping[str, Any]) -> str:
    """What llguidance takes, but does not bind to the letter; "" when there is no such thing.

    0 is accepted where a number must be more than 0 and less than 1/2, or less than 0 and more than -1/2: an exclusive
    bound that is whole, with another less than one away (seen with 1.0.1).
    """
    nodes = list(schemas(schema))
    joined = [path for path, node in nodes if _BOUNDS & node.keys() and _JOINS & node.keys()]
    if joined and any(_EXCLUSIVE & node.keys() for _, node in nodes):
        return f"bounds beside a reference or a choice{at(joined[0])}, with exclusive ones in the schema, may not bind"
    for place, text in patterns(schema):
        if (found := _RUST.search(_ESCAPES.sub("", text))) is not None:
            return f"{found[0]!r} in the pattern {text!r}{place} has another meaning in JavaScript"
    for path, node in nodes:
        above, below = _number(node, "exclusiveMinimum"), _number(node, "exclusiveMaximum")
        least = max((x for x in (above, _number(node, "minimum")) if x is not None), default=-inf)
        most = min((x for x in (below, _number(node, "maximum")) if x is not None), default=inf)
        is_whole = any(bound is not None and bound == int(bound) for bound in (above, below))
        if is_whole and most - least < 1 and node.get("type") != "integer":
            return f"exclusive bounds less than 1 apart{at(path)} do not bind exactly"
    return ""


def sentence(what: str) -> str:
    """What is said of a schema to which no answer can be bound."""
    return f"No answer can be bound to this schema: {what}. Change that part, or leave it out."


def patterns(schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The place and text of each pattern."""
    for path, node in schemas(schema):
        if isinstance(pattern := node.get("pattern"), str):
            yield at(path), pattern
        for key in node["patternProperties"] if isinstance(node.get("patternProperties"), Mapping) else ():
            yield at((*path, "patternProperties")), key


def _number(node: Mapping[str, Any], keyword: str) -> float | None:
    value = node.get(keyword)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _where(schema: Mapping[str, Any], keyword: str, value: object = None) -> str:
    for path, node in schemas(schema):
        if keyword in node and value in (None, node[keyword]):
            return at(path)
    return ""


def at(path: Path) -> str:
    """Words for a place in a schema; none for the whole."""
    return f" at {'.'.join(path)[:_MOST_CHARS]}" if path else ""
