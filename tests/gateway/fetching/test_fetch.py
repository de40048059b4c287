"""Fetching from strangers (docs/security.md S18), over real sockets of this machine."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing

import pytest

from gateway.fetching.fetch import Fetcher, Limits
from gateway.fetching.pinned import Pinned
from gateway.fetching.policy import DownloadPolicy
from jan.errors import InvalidArgumentError, JanError, PermissionDeniedError
from tests.fixtures.other_server import MIB, PAGE, OtherServer, client_tls, other_server

LIMITS = Limits(max_bytes=4 * len(MIB))
IMPATIENT = Limits(max_bytes=4 * len(MIB), piece_seconds=0.2)
PUBLIC_ADDRESS = "93.184.216.34"
HOST = "files.test"
_SENT = {"Host", "Accept", "Accept-Encoding", "User-Agent", "Connection"}


@pytest.fixture
async def other() -> AsyncIterator[OtherServer]:
    async with other_server() as server:
        yield server


class Names:
    """Looks names up as a script says: one set of addresses after the other, the last one for ever."""

    def __init__(self, *answers: Iterable[str]) -> None:
        self.answers = [list(answer) for answer in answers]
        self.asked = 0

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def listed(server: OtherServer, *hosts: str, names: Names | None = None) -> Fetcher:
    """Fetches from this server only, which the settings name."""
    allowed = frozenset((host, server.port) for host in hosts or ("127.0.0.1",))
    return Fetcher(DownloadPolicy(hosts=allowed), lookup=names or Names(["127.0.0.1"]))


def public(*answers: Iterable[str]) -> Fetcher:
    """Fetches from the open internet, with names that a script looks up."""
    return Fetcher(DownloadPolicy(public=True), lookup=Names(*answers))


async def fetched(fetcher: Fetcher, url: str, limits: Limits = LIMITS) -> bytes:
    async with aclosing(fetcher.fetch(url, limits)) as pieces:
        return b"".join([piece async for piece in pieces])


async def test_bytes_come_as_they_are_whatever_they_are_called(other: OtherServer) -> None:
    other.files = {"/a.json": b"{}", "/large": MIB, "/empty": b""}
    assert await fetched(listed(other), other.url("/a.json")) == b"{}"
    assert await fetched(listed(other), other.url("/large")) == MIB
    assert await fetched(listed(other), other.url("/empty")) == b""
    assert await fetched(listed(other), other.url("/page")) == PAGE


async def test_nothing_of_ours_goes_along(other: OtherServer) -> None:
    fetcher = listed(other)
    await fetched(fetcher, other.url("/page"))
    await fetched(fetcher, other.url("/page?a=b#c"))
    lines = other.heads[1].split("\r\n")
    assert lines[0] == "GET /page?a=b HTTP/1.1"
    assert {line.partition(":")[0] for line in lines[1:] if line} == _SENT
    assert "Accept-Encoding: identity" in lines


@pytest.mark.parametrize(
    ("path", "code", "word"),
    [
        ("/cut", "download_cut_short", "broke off"),
        ("/cut-chunk", "download_cut_short", "broke off"),
        ("/silent", "download_too_slow", "too slow"),
        ("/stalls", "download_too_slow", "too slow"),
        ("/drips", "download_too_slow", "too slow"),
        ("/endless", "download_too_large", "larger than 4194304 bytes"),
        ("/huge", "download_too_large", "larger than 4194304 bytes"),
        ("/redirects", "download_redirected", "not followed"),
        ("/gzip", "download_encoded", "compressed"),
        ("/missing", "download_failed", r"^http://127.0.0.1:\d+/missing answered 404\.$"),
        ("/lies-short", "download_failed", "HTTP"),
        ("/endless-head", "download_failed", "HTTP"),
        ("/not-http", "download_failed", "HTTP"),
    ],
)
async def test_servers_that_misbehave(other: OtherServer, path: str, code: str, word: str) -> None:
    limits = IMPATIENT if code == "download_too_slow" else LIMITS
    with pytest.raises(InvalidArgumentError, match=word) as caught:
        await fetched(listed(other), other.url(path), limits)
    assert (caught.value.code, caught.value.param) == (code, "url")


async def test_ten_gigabytes_are_cut_at_the_limit(other: OtherServer) -> None:
    with pytest.raises(InvalidArgumentError):
        await fetched(listed(other), other.url("/endless"))
    assert other.sent_bytes < 32 * len(MIB)  # the limit, and what the kernel's buffers hold on both sides


async def test_a_sender_with_patience_meets_the_end_of_the_whole_time(other: OtherServer) -> None:
    limits = Limits(max_bytes=len(MIB), total_seconds=0.2, piece_seconds=3600.0)
    with pytest.raises(InvalidArgumentError) as caught:
        await fetched(listed(other), other.url("/drips"), limits)
    assert caught.value.code == "download_too_slow"


async def test_a_redirect_is_told_and_not_followed(other: OtherServer) -> None:
    with pytest.raises(InvalidArgumentError, match=r"'http://127\.0\.0\.1:\d+/inside'"):
        await fetched(listed(other), other.url("/redirects"))
    assert (other.connections, len(other.heads)) == (1, 1)


async def test_who_is_not_there_cannot_be_reached(other: OtherServer) -> None:
    async with other_server() as gone:
        fetcher = listed(gone)
    with pytest.raises(InvalidArgumentError, match="cannot be reached") as caught:
        await fetched(fetcher, gone.url("/"))
    assert caught.value.code == "download_unreachable"


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::ffff:127.0.0.1]", "[::1]", "localhost", "0.0.0.0"),
        *("①②⑦.⓪.⓪.①", "ok\\@127.0.0.1", "ok@127.0.0.1", "127.0.0.1.", "[::ffff:7f00:1]", "[::127.0.0.1]", "0"),
    ],
)
async def test_this_machine_is_not_on_the_open_internet(other: OtherServer, host: str) -> None:
    open_internet = Fetcher(DownloadPolicy(public=True, hosts=frozenset({("elsewhere.test", other.port)})))
    for fetcher in (open_internet, Fetcher(DownloadPolicy())):
        for url in (f"http://{host}:{other.port}/", f"http://{host}/"):
            with pytest.raises(JanError):
                await fetcher.check(url)
            with pytest.raises(JanError):
                await fetched(fetcher, url)
    assert other.connections == 0


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "::ffff:10.0.0.1", "fe80::1%lo"]
)
async def test_a_name_may_not_lead_inside_not_even_with_one_of_its_addresses(address: str) -> None:
    for answer in ([address], [PUBLIC_ADDRESS, address], [address, PUBLIC_ADDRESS]):
        with pytest.raises(JanError) as caught:
            await fetched(public(answer), f"http://{HOST}/")
        assert address not in caught.value.message
        assert PUBLIC_ADDRESS not in caught.value.message


async def test_a_name_that_turns_inside_after_it_was_checked_is_refused() -> None:
    fetcher = public([PUBLIC_ADDRESS], ["127.0.0.1"])
    await fetcher.check(f"http://{HOST}/")
    with pytest.raises(PermissionDeniedError):
        await fetched(fetcher, f"http://{HOST}/")


async def test_a_name_is_looked_up_once_and_the_connection_goes_where_it_led(other: OtherServer) -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    other.files = {"/": b"first"}
    assert await fetched(listed(other, HOST, names=names), other.url("/", HOST)) == b"first"
    assert names.asked == 1
    assert f"Host: {HOST}:{other.port}" in other.heads[0]


def test_no_socket_is_opened_to_an_address_that_was_not_checked() -> None:
    pinned = Pinned(frozenset({ipaddress.ip_address(PUBLIC_ADDRESS)}))
    with pytest.raises(OSError, match="not checked"):
        pinned.open_socket((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 80)))


@pytest.mark.parametrize("answer", [[], ["not an address"]])
async def test_a_name_that_leads_nowhere(answer: list[str]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"'files\.test' cannot be found"):
        await public(answer).check(f"http://{HOST}/")


async def test_the_environments_proxies_are_not_asked(other: OtherServer, monkeypatch: pytest.MonkeyPatch) -> None:
    other.files = {"/": b"direct"}
    async with other_server() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url(""))
        assert await fetched(listed(other), other.url("/")) == b"direct"
        assert proxy.connections == 0


async def test_the_certificate_must_be_for_the_name_that_was_typed() -> None:
    async with other_server(tls=True) as other:
        other.files = {"/": b"safe"}
        allowed = frozenset({(HOST, other.port), ("evil.test", other.port)})
        names = Names(["127.0.0.1"])
        trusting = Fetcher(DownloadPolicy(hosts=allowed), lookup=names, tls=client_tls())
        assert await fetched(trusting, other.url("/", HOST, "https")) == b"safe"
        for fetcher, host in ((trusting, "evil.test"), (Fetcher(DownloadPolicy(hosts=allowed), lookup=names), HOST)):
            with pytest.raises(InvalidArgumentError) as caught:
                await fetched(fetcher, other.url("/", host, "https"))
            assert caught.value.code == "download_untrusted"
        assert len(other.heads) == 1
