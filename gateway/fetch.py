"""Fetching from a URL that a stranger chose: the only place where the gateway connects to where others tell it to.

Off unless the settings allow it. A name is looked up once, every address that it stands for is checked, and the
connection is made to those addresses alone, so a name that points elsewhere a moment later leads nowhere. Redirects
are not followed; nothing of ours goes along: no cookie, no key, no header of the client's, no proxy of the
environment. The answer is bounded in bytes, in time and in slowness, and its content type is not believed
(docs/security.md S18). Why this is our own code: docs/decisions/0022-fetching-is-our-own-code.md.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from gateway.addresses import Address
from gateway.download_policy import DownloadPolicy, host_of, literal_of, parse_url
from jan.errors import InvalidArgumentError

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
SocketAddress = tuple[int, int, int, str, tuple[str | int, ...]]

PIECE_BYTES = 64 * 1024

_HEADERS = {hdrs.ACCEPT: "*/*", hdrs.ACCEPT_ENCODING: "identity", hdrs.USER_AGENT: "Janroot"}
_OK = 200
_REDIRECTS = range(300, 400)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a download may cost. piece_seconds: how long the answer's head may take, and each 64 KiB after it."""

    max_bytes: int
    total_seconds: float = 3600.0
    piece_seconds: float = 30.0


async def system_lookup(host: str, port: int) -> list[str]:
    """The addresses of a name, as this machine sees them. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Fetcher:
    """Fetches within a policy. `lookup` finds a name's addresses; `tls` verifies certificates (True: as usual)."""

    def __init__(
        self, policy: DownloadPolicy, *, lookup: Lookup = system_lookup, tls: ssl.SSLContext | bool = True
    ) -> None:
        self._policy = policy
        self._lookup = lookup
        self._tls = tls

    def check_form(self, text: str) -> None:
        """Refuse a URL that could never be fetched here; asks nobody. Raises as `check` does."""
        self._checked(text)

    async def check(self, text: str) -> None:
        """Refuse a URL that would not be fetched now; connects to nobody.

        Raises InvalidArgumentError: not a URL, or a name that leads nowhere. PermissionDeniedError: the settings
        or the address forbid it.
        """
        await self._addresses(self._checked(text), Limits(0))

    async def fetch(self, text: str, limits: Limits) -> AsyncGenerator[bytes, None]:
        """The bytes that a URL answers, in pieces as they come; close the generator.

        Raises as `check` does. InvalidArgumentError, code `download_…`: what else went wrong, told so that the person
        who typed the URL understands it.
        """
        deadline = time.monotonic() + limits.total_seconds
        url = self._checked(text)
        addresses = await self._addresses(url, limits)
        async with self._answer(url, addresses, limits) as answer:
            received = 0
            while True:
                with _told(limits):
                    async with asyncio.timeout(min(limits.piece_seconds, deadline - time.monotonic())):
                        piece = await _read_piece(answer.content)
                received += len(piece)
                if received > limits.max_bytes:
                    raise _too_large(limits)
                if not piece:
                    return
                yield piece

    def _checked(self, text: str) -> URL:
        url = parse_url(text)
        host, port = host_of(url), url.port or 0
        self._policy.check_host(host, port)
        literal = literal_of(host)
        if literal is not None:
            self._policy.check_address(host, port, literal)
        return url

    async def _addresses(self, url: URL, limits: Limits) -> frozenset[Address]:
        """Every address of the URL's host; each of them may be connected to."""
        host, port = host_of(url), url.port or 0
        try:
            async with asyncio.timeout(limits.piece_seconds):
                found = [host] if literal_of(host) else await self._lookup(host, port)
            addresses = frozenset(map(ipaddress.ip_address, found))
        except (OSError, TimeoutError, ValueError):
            addresses = frozenset()
        if not addresses:
            raise _failed("unreachable", f"The name '{host}' cannot be found.")
        for address in addresses:
            self._policy.check_address(host, port, address)
        return addresses

    @asynccontextmanager
    async def _answer(
        self, url: URL, addresses: frozenset[Address], limits: Limits
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The head of the answer, of which only a plain 200 is taken."""
        async with _session(addresses, limits) as session:
            with _told(limits):
                async with asyncio.timeout(limits.piece_seconds):
                    answer = await session.get(url, allow_redirects=False, ssl=self._tls)
            async with answer:
                _check_head(answer, limits)
                yield answer


class _Pinned(AbstractResolver):
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


def _session(addresses: frozenset[Address], limits: Limits) -> aiohttp.ClientSession:
    """A client for one download: its own connection, nothing remembered, nothing taken from the environment."""
    pinned = _Pinned(addresses)
    connector = aiohttp.TCPConnector(
        resolver=pinned, use_dns_cache=False, force_close=True, socket_factory=pinned.open_socket
    )
    return aiohttp.ClientSession(
        connector=connector,
        headers=_HEADERS,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # nothing is sent compressed to who asks for none: no bomb to bound
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.piece_seconds),
    )


def _check_head(answer: aiohttp.ClientResponse, limits: Limits) -> None:
    if answer.status in _REDIRECTS:
        target = _shown(answer.headers.get(hdrs.LOCATION, ""))
        raise _failed("redirected", f"The URL leads on to '{target}', which is not followed; use that URL itself.")
    if answer.status != _OK:
        raise _failed("failed", f"The other server answered with status {answer.status}.")
    if answer.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower() not in ("", "identity"):
        raise _failed("encoded", "The other server sends it compressed although it was asked not to.")
    if (answer.content_length or 0) > limits.max_bytes:
        raise _too_large(limits)


async def _read_piece(content: aiohttp.StreamReader) -> bytes:
    """The next 64 KiB; fewer only at the end. A sender of a byte a second is not heard out that way."""
    piece = bytearray()
    while len(piece) < PIECE_BYTES and (data := await content.read(PIECE_BYTES - len(piece))):
        piece += data
    return bytes(piece)


@contextmanager
def _told(limits: Limits) -> Iterator[None]:
    """What goes wrong with the other server, in words for who typed the URL; no address of ours or theirs in them."""
    try:
        yield
    except TimeoutError:
        raise _failed("too_slow", "The other server is too slow, or stopped in the middle.") from None
    except aiohttp.ClientConnectorCertificateError:
        raise _failed("untrusted", "The other server's certificate is not one for its name.") from None
    except aiohttp.ClientSSLError:
        raise _failed("untrusted", "The other server does not speak TLS as it should.") from None
    except aiohttp.ClientConnectorError:
        raise _failed("unreachable", "The other server cannot be reached.") from None
    except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError):
        raise _failed("cut_short", "The other server broke off before the end.") from None
    except (aiohttp.ClientError, ValueError):
        raise _failed("failed", "The other server does not answer in HTTP as it should.") from None


def _too_large(limits: Limits) -> InvalidArgumentError:
    return _failed("too_large", f"It is larger than {limits.max_bytes} bytes, which is the most that is taken.")


def _failed(code: str, message: str) -> InvalidArgumentError:
    return InvalidArgumentError(message, param="url", code=f"download_{code}")


def _shown(text: str) -> str:
    """A stranger's text as an error may repeat it."""
    return "".join(letter if letter.isprintable() and letter.isascii() else "?" for letter in text)[:200]
