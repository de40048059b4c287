"""Requests that are too large to be made by mistake."""

from __future__ import annotations

from aiohttp import web

from jan.errors import InvalidArgumentError


def require_confirmation(request: web.Request, what: str) -> None:
    """See that somebody means it: `?confirm=true`. Raises InvalidArgumentError, which says `what` it would do."""
    if request.query.get("confirm") != "true":
        raise InvalidArgumentError(
            f"{what}; say that you mean it with ?confirm=true.", param="confirm", code="confirmation_required"
        )
