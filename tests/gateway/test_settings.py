"""A server that strangers could reach without a key does not start."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings import GatewaySettings
from jan.settings import SettingsError


def read(**environment: str) -> GatewaySettings:
    return GatewaySettings.from_environment(environment)


def test_defaults_are_for_one_person_on_one_machine() -> None:
    settings = read()
    assert (settings.host, settings.port, settings.bind, settings.auth) == ("127.0.0.1", 1337, "127.0.0.1", "none")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "LOCALHOST"])
def test_no_keys_on_loopback(host: str) -> None:
    assert read(JANROOT_HOST=host).auth == "none"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", "localhost.example.org", "2130706433"])
def test_no_keys_anywhere_else_is_refused_with_the_way_out(host: str) -> None:
    with pytest.raises(SettingsError, match="JANROOT_AUTH=keys and JANROOT_ADMIN_KEY, or JANROOT_HOST"):
        read(JANROOT_HOST=host)


def test_a_container_may_bind_everything_when_users_reach_loopback_only() -> None:
    assert read(JANROOT_HOST="127.0.0.1", JANROOT_BIND="0.0.0.0").bind == "0.0.0.0"
    with pytest.raises(SettingsError):
        read(JANROOT_HOST="0.0.0.0", JANROOT_BIND="127.0.0.1")


def test_who_sets_a_key_means_it_to_be_needed() -> None:
    assert read(JANROOT_ADMIN_KEY="sk-plain").auth == "keys"
    assert read(JANROOT_ADMIN_KEY="sk-plain", JANROOT_AUTH="none").auth == "none"
    assert read().auth == "none"


def test_the_key_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("sk-secret\n")
    assert read(JANROOT_AUTH="keys", JANROOT_ADMIN_KEY=str(path)).admin_key == "sk-secret"
    assert read(JANROOT_AUTH="keys", JANROOT_ADMIN_KEY="sk-plain").admin_key == "sk-plain"


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({"JANROOT_AUTH": "keys"}, "JANROOT_ADMIN_KEY"),
        ({"JANROOT_AUTH": "keys", "JANROOT_ADMIN_KEY": "/nowhere/key"}, "cannot be read"),
        ({"JANROOT_AUTH": "maybe"}, "none, keys"),
        ({"JANROOT_PORT": "0"}, "JANROOT_PORT"),
    ],
)
def test_a_bad_setting_is_told_in_one_sentence(environment: dict[str, str], part: str) -> None:
    with pytest.raises(SettingsError, match=part) as raised:
        read(**environment)
    assert "\n" not in str(raised.value)


def test_weights_are_json_or_a_file_of_it(tmp_path: Path) -> None:
    text = '{"user:ann": 2, "*": 0.5}'
    path = tmp_path / "weights.json"
    path.write_text(text)
    for value in (text, str(path)):
        weights = read(JANROOT_QUEUE_WEIGHTS=value).weights
        assert (weights.of("user:ann"), weights.of("user:bob")) == (2.0, 0.5)
    assert read().weights.of("anybody") == 1.0


@pytest.mark.parametrize(
    "value", ["{", '{"a": 0}', '{"a": 101}', '{"a": "2"}', '{"a": true}', "/nowhere/at/all", "[1]"]
)
def test_weights_that_cannot_be_used_are_refused(value: str) -> None:
    with pytest.raises(SettingsError, match="JANROOT_QUEUE_WEIGHTS"):
        read(JANROOT_QUEUE_WEIGHTS=value)
