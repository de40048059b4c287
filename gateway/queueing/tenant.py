"""Whom the queue charges for a request."""

from __future__ import annotations

import hashlib

from aiohttp import web

from gateway.http.credentials import sent_key
from gateway.keys import SETTINGS
from gateway.settings import AUTH_KEYS


def tenant_of(request: web.Request, user: str | None = None) -> str:
    """A name for the person behind a request, to be fair between people.

    Whatever tells people apart: a key if one is sent (its digest, for the token is nobody's business), else
    the request's `user`, else the peer's address. With keys there is one for all, so the `user` comes first: whoever
    holds the key is trusted with everything, so with names too.
    """
    key = key_digest(request)
    if user and (not key or request.app[SETTINGS].auth == AUTH_KEYS):
        return f"user:{user[:64]}"
    if key:
        return f"key:{key[:16]}"
    return f"peer:{request.remote or 'unknown'}"


def holder_of(request: web.Request) -> str:
    """Who sent a request, for what is kept for that person alone: a key's whole digest, else the peer's address."""
    key = key_digest(request)
    return f"key:{key}" if key else f"peer:{request.remote or 'unknown'}"


def key_digest(request: web.Request) -> str:
    """The digest of the key that was sent, which is nobody's business itself; empty without one."""
    key = sent_key(request)
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest() if key else ""
