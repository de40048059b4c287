"""Ids in paths: what cannot be an id names nothing, so it is not found, not malformed."""

from __future__ import annotations

from typing import TypeVar

from aiohttp import web

from jan.errors import InvalidArgumentError, NotFoundError
from jan.ids import Id

IdT = TypeVar("IdT", bound=Id)

# How much of a stranger's text an error repeats.
_MAX_ECHO = 64


def path_id(request: web.Request, name: str, id_type: type[IdT]) -> IdT:
    """The id in the path's place `name`. Raises NotFoundError, in OpenAI's words for that kind of object."""
    text = request.match_info[name]
    try:
        return id_type.parse(text)
    except InvalidArgumentError:
        raise NotFoundError(f"No {id_type.kind} found with id {text[:_MAX_ECHO]!a}.") from None
