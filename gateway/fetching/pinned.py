"""An HTTP client that connects to addresses which were checked, and to nothing else."""

from __future__ import annotations

import ipaddress
import socket

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.fetching.addresses import Address

SocketAddress = tuple[int, int, int, str, tuple[str | int, ...]]

_HEADERS = {hdrs.ACCEPT: "*/*", hdrs.ACCEPT_ENCODING: "identity", hdrs.USER_AGENT: "Janroot"}


class Pinned(AbstractResolver):
    """Answers with the addresses that were checked, and asks nobody."""

    def __init__(self, addresses: frozenset[Address]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """See AbstractResolver."""
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in sorted(self._addresses, key=lambda address: (address.version, int(address)))
        ]

    async def close(self) -> None:
        """See AbstractResolver."""

    def open_socket(self, where: SocketAddress) -> socket.socket:
        """The last gate, whatever the client made of the host: no socket for an address that was not checked."""
        family, kind, protocol, _, address = where
        if ipaddress.ip_address(str(address[0])) not in self._addresses:
            raise OSError("the address was not checked")
        opened = socket.socket(family, kind, protocol)
        opened.setblocking(False)
        return opened


def pinned_session(addresses: frozenset[Address], connect_seconds: float) -> aiohttp.ClientSession:
    """A client for one download: its own connection, nothing remembered, nothing taken from the environment."""
    pinned = Pinned(addresses)
    connector = aiohttp.TCPConnector(
        resolver=pinned, use_dns_cache=False, force_close=True, socket_factory=pinned.open_socket
    )
    return aiohttp.ClientSession(
        connector=connector,
        headers=_HEADERS,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # nothing is sent compressed to who asks for none: no bomb to bound
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds),
    )
