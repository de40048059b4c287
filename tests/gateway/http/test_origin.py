"""What this server calls itself when it tells a client one of its URLs."""

from __future__ import annotations

import pytest
from aiohttp import HttpVersion10, HttpVersion11
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from gateway.http.origin import own_url

PATH = "/v1/messages/batches/a/results"
PROTO, HOST = "X-Forwarded-Proto", "X-Forwarded-Host"


def told(*headers: tuple[str, str]) -> str:
    """What a client is told that sent these headers, or whose proxy did."""
    sent = CIMultiDict([("Host", "jan.example:1337"), *headers])
    return own_url(make_mocked_request("GET", "/", headers=sent, version=HttpVersion11), PATH)


def test_it_is_what_the_client_called_it() -> None:
    assert told() == f"http://jan.example:1337{PATH}"


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ([(PROTO, "https")], "https://jan.example:1337"),
        ([(PROTO, "HTTPS"), (HOST, "jan.example")], "https://jan.example"),
        ([(PROTO, "http"), (HOST, "[::1]:80")], "http://[::1]:80"),
        ([(PROTO, "https"), (HOST, "a.example, b.example")], "https://jan.example:1337"),
        ([(PROTO, "https"), (HOST, "a.example/path?")], "https://jan.example:1337"),
        ([(PROTO, "https"), (HOST, "me@a.example")], "https://jan.example:1337"),
    ],
)
def test_a_proxy_says_how_it_was_reached(headers: list[tuple[str, str]], origin: str) -> None:
    assert told(*headers) == origin + PATH


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Forwarded-For", "192.0.2.1")],
        [("Via", "1.1 proxy")],
        [("Forwarded", "for=192.0.2.1")],
        [("X-Real-IP", "192.0.2.1")],
        [(HOST, "jan.example")],
        [(PROTO, "ftp")],
        [(PROTO, "")],
        [(PROTO, "https, http")],
        [(PROTO, "https"), (PROTO, "http")],
    ],
)
def test_behind_a_proxy_that_does_not_say_it_is_a_path(headers: list[tuple[str, str]]) -> None:
    assert told(*headers) == PATH


def test_a_proxy_that_speaks_the_older_protocol_does_not_say() -> None:
    request = make_mocked_request("GET", "/", headers=CIMultiDict(Host="127.0.0.1:1337"), version=HttpVersion10)
    assert own_url(request, PATH) == PATH
