"""What all that look at a JSON schema from a stranger must read in the same way. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote


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
