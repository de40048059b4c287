"""Functions of a namespace, and the names that engines know them by: engines have no namespaces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import StringConstraints

MAX_FLAT_NAME: Final = 64
"""The longest name that engines take."""
_DIGEST: Final = 8

Namespace = Annotated[str, StringConstraints(pattern="^[a-zA-Z0-9_-]{1,64}$")]
NamespacedName = Annotated[str, StringConstraints(pattern="^[a-zA-Z0-9_-]{1,128}$")]
"""OpenAI lets functions in namespaces have longer names than others."""


@dataclass(frozen=True, slots=True)
class Spelled:
    """A function as clients call it."""

    name: str
    namespace: str | None = None


def flat_name(name: str, namespace: str | None) -> str:
    """The name by which engines know a function, the same whenever it is asked.

    What is too long for them is cut, and bears a digest of the whole.
    """
    whole = f"{namespace}__{name}" if namespace else name
    if len(whole) <= MAX_FLAT_NAME:
        return whole
    digest = hashlib.sha256(whole.encode()).hexdigest()[:_DIGEST]
    return f"{whole[: MAX_FLAT_NAME - _DIGEST - 1]}_{digest}"


def spellings(tools: Iterable[Mapping[str, Any]]) -> Mapping[str, Spelled]:
    """How clients spell functions in namespaces, by their flat names. tools: as an answer repeats them."""
    return {
        flat_name(function["name"], tool["name"]): Spelled(function["name"], tool["name"])
        for tool in tools
        if tool.get("type") == "namespace"
        for function in tool["tools"]
    }
