"""Where the gateway may fetch from, and the form that a URL must have for it (docs/security.md S18).

A URL is parsed once, by the parser that the HTTP client uses too: what is checked is what is connected to.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Self

from yarl import URL

from gateway.fetching.addresses import Address, is_public
from jan.errors import InvalidArgumentError, PermissionDeniedError
from jan.settings import Environment, SettingsError

OFF = "off"
PUBLIC = "public"
MAX_URL_LENGTH = 2048

_USUAL_PORTS = (80, 443)
_SCHEMES = ("http", "https")
# Parsers differ over these (CVE-2026-24779, CVE-2026-45400), and no URL needs them as they are.
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\\]")
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?", re.ASCII)
# What ends in a number is an address for the kernel: 2130706433, 0x7f.1, 0177.0.0.1 (and so for WHATWG's parser).
_NUMERIC = re.compile(r"(?:.*\.)?(?:0x[0-9a-f]*|[0-9]+)\.?", re.ASCII)
_LISTED = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]\s]+)(?::([0-9]{1,5}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class DownloadPolicy:
    """What may be fetched. public: any host of the open internet. hosts: names with ports that may be besides."""

    public: bool = False
    hosts: frozenset[tuple[str, int]] = frozenset()

    @classmethod
    def from_environment(cls, environment: Environment) -> Self:
        """Read `JANROOT_DOWNLOADS` and `JANROOT_DOWNLOAD_HOSTS`. Raises SettingsError."""
        listed = environment.text("JANROOT_DOWNLOAD_HOSTS", "").split(",")
        return cls(
            public=environment.choice("JANROOT_DOWNLOADS", OFF, (OFF, PUBLIC)) == PUBLIC,
            hosts=frozenset(host for name in listed if name.strip() for host in _read_host(name.strip())),
        )

    def check_host(self, host: str, port: int) -> None:
        """Refuse a host before anybody looks it up. Raises PermissionDeniedError, which says what to set."""
        if (host, port) in self.hosts:
            return
        if not self.public:
            raise PermissionDeniedError(
                "This server downloads nothing from there. Its administrator can set JANROOT_DOWNLOADS=public for the "
                f"open internet, or add '{_shown(host, port)}' to JANROOT_DOWNLOAD_HOSTS.",
                code="downloads_off",
            )
        if port not in _USUAL_PORTS:
            raise PermissionDeniedError(
                "Downloads come from ports 80 and 443. The administrator of this server can add "
                f"'{_shown(host, port)}' to JANROOT_DOWNLOAD_HOSTS.",
                code="download_refused",
            )

    def check_address(self, host: str, port: int, address: Address) -> None:
        """Refuse an address that the host stands for. Raises PermissionDeniedError, which does not tell the address."""
        if (host, port) not in self.hosts and not is_public(address):
            raise PermissionDeniedError(
                f"'{host}' is no host of the open internet. The administrator of this server can add "
                f"'{_shown(host, port)}' to JANROOT_DOWNLOAD_HOSTS.",
                code="download_refused",
            )


def parse_url(text: str, *, most: int = MAX_URL_LENGTH) -> URL:
    """A URL that may be fetched as far as its form goes, of at most so many characters. Raises InvalidArgumentError."""
    if len(text) > most:
        raise _bad_url(f"it is longer than {most} characters")
    if _UNSAFE.search(text):
        raise _bad_url("it holds a space, a control character or a backslash")
    try:
        url = URL(text)
    except ValueError:
        raise _bad_url("it is none") from None
    if url.scheme not in _SCHEMES:
        raise _bad_url("it must begin with http:// or https://")
    if "@" in url.raw_authority:
        raise _bad_url("it must hold no user name and no password")
    if not url.port:
        raise _bad_url("its port cannot be used")
    if literal_of(host_of(url)) is None and not _is_name(host_of(url)):
        raise _bad_url("its host is neither a name nor an address in the usual form")
    return url.with_fragment(None)


def host_of(url: URL) -> str:
    """The host as the HTTP client connects to it: IDNA and lower case for a name; empty for none."""
    return url.raw_host or ""


def literal_of(host: str) -> Address | None:
    """The address that a host is; None for a name. Zones (`%eth0`) lead to links of this machine, and are none."""
    try:
        return None if "%" in host else ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_name(host: str) -> bool:
    return bool(_NAME.fullmatch(host)) and not _NUMERIC.fullmatch(host)


def _read_host(text: str) -> list[tuple[str, int]]:
    """`name`, `name:port`, `[address]:port`; without a port the usual two."""
    match = _LISTED.fullmatch(text)
    host = match[1].strip("[]").lower() if match else ""
    port = int(match[2] or 0) if match else 0
    if port > 65535 or (literal_of(host) is None and not _is_name(host)):
        raise SettingsError(f"JANROOT_DOWNLOAD_HOSTS has {text!r}, which is no host name with or without a port.")
    literal = literal_of(host)
    name = str(literal) if literal else host
    return [(name, port)] if port else [(name, usual) for usual in _USUAL_PORTS]


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bad_url(reason: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"This URL cannot be used: {reason}.", param="url", code="invalid_url")
