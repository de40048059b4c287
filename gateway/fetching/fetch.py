"""Fetching from a URL that a stranger chose: the only place where the gateway connects to where others tell it to.

Off unless the settings allow it. A name is looked up once, every address that it stands for is checked, and the
connection is made to those addresses alone, so a name that points elsewhere a moment later leads nowhere. Redirects
are followed for files of models, and by a hub's interface to its own origin; one by one, each checked as the first URL
was. Nothing of ours goes along: no cookie, no header of the client's, no proxy of the environment, and a key only to
the origin that it is for. The answer is bounded in bytes, in time and in slowness, and its content type is not believed
(docs/security.md S18).
 Why this is our own code: docs/decisions/0022-fetching-is-our-own-code.md.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp import hdrs
from yarl import URL

from gateway.fetching.addresses import Address
from gateway.fetching.pinned import pinned_session
from gateway.fetching.policy import MAX_URL_LENGTH, DownloadPolicy, host_of, literal_of, parse_url
from jan.errors import InvalidArgumentError

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]

PIECE_BYTES = 64 * 1024

_OK = 200
_PARTIAL = 206
_REDIRECTS = range(300, 400)
_MAX_VALIDATOR_LENGTH = 256
# Signed URLs of networks that keep large files are long.
_MAX_TARGET_LENGTH = 8192
# A hub leads to the network that keeps its large files, sometimes by way of another name of its own.
MAX_REDIRECTS = 5
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)
_CODES = {401: "denied", 403: "denied", 408: "busy", 416: "range", 429: "busy"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a download may cost. piece_seconds: how long the answer's head may take, and each 64 KiB after it."""

    max_bytes: int
    total_seconds: float = 3600.0
    piece_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked of a server: a file, or a part of it.

    length: None for everything from `offset` on. validator: the state of the file that the part must belong to; of
    another state the whole file comes. token: told to the URL's own origin, and to no other that it leads to.
    """

    url: str
    offset: int = 0
    length: int | None = None
    validator: str = ""
    token: str = ""

    def headers(self) -> dict[str, str]:
        """What says so in HTTP (RFC 9110, 13.1.5 and 14.2)."""
        headers: dict[str, str] = {}
        if self.offset or self.length is not None:
            end = "" if self.length is None else self.offset + self.length - 1
            headers[hdrs.RANGE] = f"bytes={self.offset}-{end}"
            if self.validator:
                headers[hdrs.IF_RANGE] = self.validator
        return headers


@dataclass(frozen=True, slots=True)
class FilePart:
    """What a server gives: bytes from `offset` on; 0 where it does not know parts, or where its file has changed.

    total_bytes: the whole file's size; None when it does not tell. validator: by what it knows this state of the file.
    """

    offset: int
    total_bytes: int | None
    validator: str
    pieces: AsyncGenerator[bytes, None]


@dataclass(frozen=True, slots=True)
class Reply:
    """What an interface answers: any status, its headers by lower-case name, and all of its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


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
        async with self._answer(self._checked(text), limits, {}) as answer:
            _check_head(answer, limits)
            async for piece in _pieces(answer, limits):
                yield piece

    async def whole(self, text: str, limits: Limits) -> bytes:
        """All that a URL answers. Raises as `fetch`."""
        async with aclosing(self.fetch(text, limits)) as pieces:
            return b"".join([piece async for piece in pieces])

    @asynccontextmanager
    async def open(self, ask: Ask, limits: Limits) -> AsyncIterator[FilePart]:
        """A file of a model, or a part of it, while the context is open. Redirects are followed, each one checked.

        Raises as `fetch`, here and while pieces are read.
        """
        async with self._last_answer(ask, limits) as answer:
            part = _part_of(answer, limits)
            async with aclosing(part.pieces):
                yield part

    async def ask(self, ask: Ask, limits: Limits) -> Reply:
        """What an interface answers, whatever its status. Redirects are followed within its own origin alone.

        Raises as `fetch`.
        """
        async with self._last_answer(ask, limits, within_origin=True) as answer:
            _check_plain(answer)
            body = b"".join([piece async for piece in _pieces(answer, limits)])
            return Reply(answer.status, {name.lower(): value for name, value in answer.headers.items()}, body)

    @asynccontextmanager
    async def _last_answer(
        self, ask: Ask, limits: Limits, *, within_origin: bool = False
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The head of the answer that redirects lead to."""
        url = first = self._checked(ask.url)
        for _ in range(MAX_REDIRECTS + 1):
            headers = ask.headers()
            if ask.token and url.origin() == first.origin():
                headers[hdrs.AUTHORIZATION] = f"Bearer {ask.token}"
            async with self._answer(url, limits, headers) as answer:
                if answer.status not in _REDIRECTS:
                    yield answer
                    return
                url = self._led_on(url, answer)
            if within_origin and url.origin() != first.origin():
                raise _failed("redirected", "It leads on to another server, which is not followed.")
        raise _failed("redirected", "The URL leads from one to another without end.")

    def _led_on(self, url: URL, answer: aiohttp.ClientResponse) -> URL:
        """Where an answer leads, if it is a place to go to. Raises as `check_form`."""
        location = answer.headers.get(hdrs.LOCATION, "")
        try:
            target = self._checked(str(url.join(URL(location))), most=_MAX_TARGET_LENGTH)
        except ValueError:
            raise _failed("redirected", "The URL leads on to what is no URL.") from None
        if url.scheme == "https" and target.scheme != "https":
            raise _failed("redirected", "The URL leads on to one without TLS, which is not followed.")
        return target

    def _checked(self, text: str, *, most: int = MAX_URL_LENGTH) -> URL:
        url = parse_url(text, most=most)
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
    async def _answer(self, url: URL, limits: Limits, headers: dict[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """The head of the answer to one URL."""
        async with pinned_session(await self._addresses(url, limits), limits.piece_seconds) as session:
            with _told(limits):
                async with asyncio.timeout(limits.piece_seconds):
                    answer = await session.get(url, headers=headers, allow_redirects=False, ssl=self._tls)
            async with answer:
                yield answer


def _check_head(answer: aiohttp.ClientResponse, limits: Limits) -> None:
    if answer.status in _REDIRECTS:
        target = _shown(answer.headers.get(hdrs.LOCATION, ""))
        raise _failed("redirected", f"The URL leads on to '{target}', which is not followed; use that URL itself.")
    if answer.status != _OK:
        code = _CODES.get(answer.status, "busy" if answer.status >= 500 else "failed")
        raise _failed(code, f"{_named(answer.url)} answered {answer.status}.")
    _check_plain(answer)
    if (answer.content_length or 0) > limits.max_bytes:
        raise _too_large(limits)


def _check_plain(answer: aiohttp.ClientResponse) -> None:
    if answer.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower() not in ("", "identity"):
        raise _failed("encoded", "The other server sends it compressed although it was asked not to.")


def _part_of(answer: aiohttp.ClientResponse, limits: Limits) -> FilePart:
    """What an answer gives of a file. Raises InvalidArgumentError: nothing that can be used."""
    validator = _validator(answer)
    if answer.status != _PARTIAL:
        _check_head(answer, limits)
        return FilePart(0, answer.content_length, validator, _pieces(answer, limits))
    _check_plain(answer)
    told = _CONTENT_RANGE.fullmatch(answer.headers.get(hdrs.CONTENT_RANGE, ""))
    if told is None:
        raise _failed("range", "The other server does not say which part of the file it sends.")
    begin, end, total = map(int, told.groups())
    if not begin <= end < total:
        raise _failed("range", "The other server sends a part that no file has.")
    return FilePart(begin, total, validator, _pieces(answer, limits))


def _validator(answer: aiohttp.ClientResponse) -> str:
    """A strong ETag, else the date (RFC 9110, 13.1.5); empty for neither."""
    etag = answer.headers.get(hdrs.ETAG, "")
    usable = etag if etag.startswith('"') else answer.headers.get(hdrs.LAST_MODIFIED, "")
    return usable if len(usable) <= _MAX_VALIDATOR_LENGTH and usable.isprintable() else ""


async def _pieces(answer: aiohttp.ClientResponse, limits: Limits) -> AsyncGenerator[bytes, None]:
    deadline = time.monotonic() + limits.total_seconds
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


def _named(url: URL) -> str:
    """A URL as an error names it: without its query, which may be a secret."""
    return _shown(str(url.with_query(None).with_fragment(None)))


def _shown(text: str) -> str:
    """A stranger's text as an error may repeat it."""
    return "".join(letter if letter.isprintable() and letter.isascii() else "?" for letter in text)[:200]
