"""The key that a request carries, wherever it stands; everything that asks for it asks here (docs/security.md S13)."""

from __future__ import annotations

from aiohttp import web

from jan.errors import UnauthenticatedError

X_API_KEY = "X-Api-Key"


def sent_key(request: web.Request) -> str:
    """The bearer token, or what `x-api-key` says, as Anthropic's clients send it; empty without either.

    Raises UnauthenticatedError: several that differ.
    """
    keys = {key for key in (*_bearers(request), *map(str.strip, request.headers.getall(X_API_KEY, []))) if key}
    if len(keys) > 1:
        raise UnauthenticatedError("The request carries two keys that differ; send one.")
    return keys.pop() if keys else ""


def _bearers(request: web.Request) -> list[str]:
    schemes = (value.partition(" ") for value in request.headers.getall("Authorization", []))
    return [token.strip() for scheme, _, token in schemes if scheme.lower() == "bearer"]
