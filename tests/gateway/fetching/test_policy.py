"""The form of a URL, and what the settings let pass."""

from __future__ import annotations

import pytest

from gateway.fetching.policy import DownloadPolicy, host_of, parse_url
from jan.errors import InvalidArgumentError, PermissionDeniedError
from jan.settings import Environment, SettingsError


def policy(**environment: str) -> DownloadPolicy:
    return DownloadPolicy.from_environment(Environment(environment))


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "//host/x", "/etc/passwd", "host.example/x", "http://", "http:///x", "http:/host/x"),
        *("file:///etc/passwd", "ftp://host.example/x", "gopher://host.example/", "data:text/plain,x", "javascript:1"),
        *("http://ok\\@127.0.0.1/", "http://127.0.0.1\\.host.example/", "http://host.example\\x"),
        *("http://a@host.example/", "http://a:b@host.example/", "http://a@b@host.example/"),
        *("http://host.example /", " http://host.example/", "http://host.example/a b", "http://host.example/\n"),
        *(
            "http://host.example/\x00",
            "http://ho\tst.example/",
            "http://host.example/\x7f",
            "http://host.example\u00a0/",
        ),
        *("http://2130706433/", "http://0x7f.1/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/"),
        *("http://127.0.0.1./", "http://127.0.0.01/", "http://host.0x10/", "http://1/", "http://0/"),
        *("http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[::1/", "http://::1/"),
        *("http://host.example:0/", "http://host.example:99999/", "http://host.example:x/", "http://ho%73t.example/"),
        *("http://%31%32%37.0.0.1/", "http://host.example%2f@127.0.0.1/", "http://-host.example/", "http://.host/"),
        "http://" + "a" * 254 + "/",
        "http://host.example/" + "a" * 2048,
    ],
)
def test_urls_of_no_use(text: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_url(text)
    assert (caught.value.param, caught.value.code) == ("url", "invalid_url")
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("https://host.example/a.json", "host.example", 443),
        ("HTTP://Host.Example/", "host.example", 80),
        ("http://host.example:8080/a?b=c#d", "host.example", 8080),
        ("https://müller.example/ä", "xn--mller-kva.example", 443),
        ("http://8.8.8.8/", "8.8.8.8", 80),
        ("http://[2606:4700::1111]:8443/", "2606:4700::1111", 8443),
        # What looks like letters is digits for every parser that follows the standard, so for ours.
        ("http://①②⑦.⓪.⓪.①/", "127.0.0.1", 80),
    ],
)
def test_usual_urls(text: str, host: str, port: int) -> None:
    url = parse_url(text)
    assert (host_of(url), url.port, url.fragment) == (host, port, "")


def test_nothing_is_fetched_unless_the_settings_say_so() -> None:
    with pytest.raises(PermissionDeniedError, match=r"JANROOT_DOWNLOADS=public.*'host\.example:443'.*DOWNLOAD_HOSTS"):
        policy().check_host("host.example", 443)


def test_public_means_the_two_usual_ports() -> None:
    policy(JANROOT_DOWNLOADS="public").check_host("host.example", 443)
    with pytest.raises(PermissionDeniedError, match=r"'host\.example:22'"):
        policy(JANROOT_DOWNLOADS="public").check_host("host.example", 22)


def test_a_listed_host_may_be_fetched_from_and_no_other() -> None:
    listed = policy(JANROOT_DOWNLOAD_HOSTS="Files.Example:8080, other.example,[::1]:9000")
    listed.check_host("files.example", 8080)
    listed.check_host("other.example", 80)
    listed.check_host("other.example", 443)
    listed.check_host("::1", 9000)
    for host, port in (("files.example", 80), ("x.files.example", 8080), ("other.example", 8080), ("::1", 80)):
        with pytest.raises(PermissionDeniedError):
            listed.check_host(host, port)


@pytest.mark.parametrize(
    "value", ["a b", "http://host.example", "host:99999", "host:x", "*", "10.0.0.0/8", "2130706433"]
)
def test_a_list_that_cannot_be_meant_is_told(value: str) -> None:
    with pytest.raises(SettingsError, match="JANROOT_DOWNLOAD_HOSTS"):
        policy(JANROOT_DOWNLOAD_HOSTS=value)
