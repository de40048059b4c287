"""Who may come in: hosts, origins and keys, decided on the matched route before the body is read."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from urllib.parse import urlsplit

from aiohttp import web

from gateway.http.credentials import sent_key
from gateway.settings import AUTH_NONE, GatewaySettings
from jan.errors import InvalidArgumentError, PermissionDeniedError, UnauthenticatedError

# Health checks carry no key, and what the API looks like is no secret; every other route needs one.
OPEN_ROUTES = frozenset({"/healthz", "/readyz", "/", "/docs", "/docs/{name}", "/openapi.json"})

_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{1,5})?", re.ASCII)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def check(settings: GatewaySettings, request: web.Request) -> None:
    """Let a request pass, or raise.

    Raises InvalidArgumentError for a malformed Host, PermissionDeniedError for a foreign host or origin,
    UnauthenticatedError for a missing or wrong key, or two that differ.
    """
    host = _host_name(request)
    if not request.raw_path.startswith("/"):
        raise InvalidArgumentError("The request line must hold a path, not a whole address.")
    resource = request.match_info.route.resource
    if resource is not None and resource.canonical in OPEN_ROUTES:
        return
    if settings.auth == AUTH_NONE:
        _check_host(settings, host)
        _check_origin(settings, request)
        sent_key(request)  # two that differ are nobody's, here too
    else:
        _check_key(settings, request)


def is_host(text: str) -> bool:
    """Whether a text is a host as `Host` may name it: a name or an address, with or without a port."""
    return _HOST.fullmatch(text) is not None


def _host_name(request: web.Request) -> str:
    hosts = request.headers.getall("Host", [])
    match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if match is None:
        raise InvalidArgumentError("The request needs exactly one well-formed Host header.")
    return (match["v6"] or match["name"]).lower()


def _check_host(settings: GatewaySettings, host: str) -> None:
    """Without keys, DNS rebinding must not get a page in (docs/security.md S6)."""
    if not _is_trusted(settings, host):
        raise PermissionDeniedError(
            f"This server does not answer to the host name {host!r}; add it to JANROOT_TRUSTED_HOSTS."
        )


def _check_origin(settings: GatewaySettings, request: web.Request) -> None:
    """Without keys, a web page of another site must not change anything (docs/security.md S4)."""
    origin = request.headers.get("Origin")
    if origin is None or request.method in _SAFE_METHODS:
        return
    if not _is_trusted(settings, _origin_host(origin)):
        raise PermissionDeniedError("Requests from this web origin are not allowed; use JANROOT_AUTH=keys for them.")


def _origin_host(origin: str) -> str:
    """The host of an origin; empty, which nobody trusts, for one that has none or cannot be read."""
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""


def _is_trusted(settings: GatewaySettings, host: str) -> bool:
    if host in {"localhost", settings.host.lower()} or host in settings.trusted_hosts:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # A literal address cannot be made to point elsewhere; 0.0.0.0 is none, and browsers send it to this machine.
    return not address.is_unspecified


def _check_key(settings: GatewaySettings, request: web.Request) -> None:
    key = sent_key(request)
    if not key:
        raise UnauthenticatedError(
            "You didn't provide an API key. Send it as an Authorization header: Bearer YOUR_KEY.",
        )
    # Equal-length digests compared in constant time tell nothing of the key (docs/security.md S11).
    if not hmac.compare_digest(_digest(key), _digest(settings.admin_key)):
        raise UnauthenticatedError("Incorrect API key provided.")


def is_admin(settings: GatewaySettings, request: web.Request) -> bool:
    """Whether the caller may see and do what concerns everybody.

    That is the admin key. Without keys it is also whoever sends no token: only this machine is reached then, and what
    tells people apart is their tokens.
    """
    key = sent_key(request)
    if not key:
        return settings.auth == AUTH_NONE
    return bool(settings.admin_key) and hmac.compare_digest(_digest(key), _digest(settings.admin_key))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
