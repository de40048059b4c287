"""Which class of the queue a request belongs to (docs/operations.md, "The queue")."""

from __future__ import annotations

from typing import TypeAlias

from aiohttp import web

from jan.errors import InvalidArgumentError
from jan.inference.v1 import jobs_pb2

Priority: TypeAlias = jobs_pb2.Priority.ValueType

HEADER = "X-Janroot-Priority"
NAMES: dict[str, Priority] = {
    "interactive": jobs_pb2.PRIORITY_INTERACTIVE,
    "normal": jobs_pb2.PRIORITY_NORMAL,
    "batch": jobs_pb2.PRIORITY_BATCH,
}
_NAME_OF: dict[int, str] = {number: name for name, number in NAMES.items()}
# OpenAI's service tiers; `auto`, `default` and `scale` leave it to us.
_TIERS = ("auto", "default", "flex", "scale", "priority", "fast")
_CLASS_OF_TIER: dict[str, Priority] = {
    "priority": jobs_pb2.PRIORITY_INTERACTIVE,
    "fast": jobs_pb2.PRIORITY_INTERACTIVE,
    "flex": jobs_pb2.PRIORITY_BATCH,
}
_TIER_TOLD = {"flex": "flex", "priority": "priority", "fast": "priority"}


def tier_told(asked: str | None) -> str:
    """The tier that an answer names, as OpenAI says it: `default` where it was left to us; "" where nobody asked."""
    return "" if asked is None else _TIER_TOLD.get(asked, "default")


def priority_of(request: web.Request, *, stream: bool, service_tier: str | None = None) -> Priority:
    """The class: what the header says, else OpenAI's `service_tier`, else interactive for a stream and normal without.

    Raises InvalidArgumentError: a word that nobody knows.
    """
    said = request.headers.get(HEADER)
    if said is not None:
        if said.strip().lower() not in NAMES:
            raise InvalidArgumentError(f"{HEADER} must be one of: {', '.join(NAMES)}.", param=HEADER)
        return NAMES[said.strip().lower()]
    if service_tier is not None:
        if service_tier not in _TIERS:
            raise InvalidArgumentError(
                f"'service_tier' must be one of: {', '.join(_TIERS)}.", param="service_tier", code="invalid_value"
            )
        if service_tier in _CLASS_OF_TIER:
            return _CLASS_OF_TIER[service_tier]
    return jobs_pb2.PRIORITY_INTERACTIVE if stream else jobs_pb2.PRIORITY_NORMAL


def name_of(priority: int) -> str:
    """The word for a class, as the header has it and runs keep it."""
    return _NAME_OF[priority]


def kept(name: str) -> Priority:
    """The class that a run keeps under its word; runs that keep none are interactive."""
    return NAMES.get(name, jobs_pb2.PRIORITY_INTERACTIVE)
