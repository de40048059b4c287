"""The absolute URLs of this server's own: what its client calls it, as far as that is known.

Nothing is decided by it: a client that lies about the host is told the lie, and nobody else is, since no answer that
holds such a URL is kept (docs/security.md S7).
"""

from __future__ import annotations

from typing import Final

from aiohttp import HttpVersion11, web

from gateway.http.guard import is_host

# What proxies add, in one way or another: the client's own connection is another one then.
_PASSED_ON: Final = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Real-IP")
_PROTO: Final = "X-Forwarded-Proto"
_SCHEMES: Final = frozenset({"http", "https"})


def own_url(request: web.Request, path: str) -> str:
    """The URL of a path here, as its client reaches it.

    Behind a proxy that does not say how it was reached (`X-Forwarded-Proto`) it is the path alone, which clients put
    behind the URL that they know: a guess could send a key over plain HTTP.
    """
    schemes, hosts = _told(request, _PROTO), _told(request, "X-Forwarded-Host")
    host = hosts[0] if len(hosts) == 1 and is_host(hosts[0]) else request.host
    if len(schemes) == 1 and schemes[0].lower() in _SCHEMES:
        return f"{schemes[0].lower()}://{host}{path}"
    # Many a proxy that adds no header speaks the protocol of 1996 to us, which clients do not.
    if schemes or request.version < HttpVersion11 or any(name in request.headers for name in _PASSED_ON):
        return path
    return f"{request.scheme}://{request.host}{path}"


def _told(request: web.Request, name: str) -> list[str]:
    """What proxies say in a header; each may have added its own word behind that of the one before it."""
    return [word.strip() for value in request.headers.getall(name, []) for word in value.split(",")]
