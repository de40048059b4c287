"""Settings that cannot be used are told in one sentence that names the variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from jan.settings import CommonSettings, Environment, SettingsError


def test_defaults_are_below_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = CommonSettings.from_environment(Environment({}))
    assert settings.janroot == tmp_path / "janroot"
    assert settings.run_dir == tmp_path / "run"
    assert settings.redis_url == f"unix://{tmp_path}/run/redis.sock"
    assert settings.storage_addr == f"unix:{tmp_path}/run/storage_service.sock"
    assert settings.inference_addr == f"unix:{tmp_path}/run/inference_service.sock"
    assert settings.log_format == "text"


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("JANROOT_LOG", "xml", "text, json"),
        ("JANROOT_RUN_DIR", "/tmp/" + "x" * 120, "JANROOT_RUN_DIR to a shorter folder"),
        ("JANROOT_STORAGE_ADDR", "unix:/" + "x" * 120, "JANROOT_STORAGE_ADDR"),
    ],
)
def test_a_bad_value_is_told_in_one_sentence(name: str, value: str, part: str) -> None:
    with pytest.raises(SettingsError, match=part):
        CommonSettings.from_environment(Environment({name: value}))


@pytest.mark.parametrize("value", ["0", "70000", "many", "1.5", "-1"])
def test_whole_numbers_are_bounded(value: str) -> None:
    with pytest.raises(SettingsError, match="JANROOT_PORT"):
        Environment({"JANROOT_PORT": value}).integer("JANROOT_PORT", 1337, 1, 65535)


def test_an_empty_value_is_absent() -> None:
    assert Environment({"JANROOT_PORT": " "}).integer("JANROOT_PORT", 1337, 1, 65535) == 1337


def test_the_longest_socket_path_that_the_kernel_takes_passes() -> None:
    path = "/" + "x" * 106
    settings = CommonSettings.from_environment(Environment({"JANROOT_STORAGE_ADDR": f"unix:{path}"}))
    assert settings.storage_addr.endswith(path)
