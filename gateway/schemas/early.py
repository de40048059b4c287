"""Lists and maps of a request are read to their first wrong item: only one fault is told, whatever else is wrong.

32 MiB of JSON hold a million wrong items. Each would become an error of pydantic's, which takes a kilobyte and seconds
in which nobody else is heard (docs/security.md S35).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic_core import CoreSchema


def stop_at_the_first_fault(schema: CoreSchema) -> None:
    """Change the schema of one model: those of the models in it are their own."""
    for part in _parts(schema):
        if part.get("type") in ("list", "dict"):
            part["fail_fast"] = True


def _parts(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _parts(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _parts(value)
