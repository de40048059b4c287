"""What the compose files promise about ports, users and rights (docs/security.md S8, S33), read from the files."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LONG_RUNNING = ("redis", "storage", "inference", "gateway")


def with_defaults(text: str) -> str:
    """The file as compose reads it when no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def services(name: str = "docker-compose.yml") -> dict[str, dict[str, Any]]:
    loaded = yaml.safe_load(with_defaults((ROOT / name).read_text(encoding="utf-8")))
    found: dict[str, dict[str, Any]] = loaded["services"]
    return found


def test_only_the_gateway_is_published_and_on_loopback() -> None:
    published = {name: service["ports"] for name, service in services().items() if "ports" in service}
    assert published == {"gateway": ["127.0.0.1:1337:1337"]}


def test_nobody_uses_the_hosts_network_or_rights() -> None:
    for service in services().values():
        assert service.get("network_mode", "none") == "none"
        assert "privileged" not in service
        assert "/var/run/docker.sock" not in str(service.get("volumes", ""))


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_services_run_as_a_user_with_no_rights_on_a_read_only_root(name: str) -> None:
    service = services()[name]
    assert service["user"] == "1000:1000"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_services_are_watched_and_restarted(name: str) -> None:
    service = services()[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"


def test_the_one_root_process_ends_and_reaches_no_network() -> None:
    prepare = services()["prepare"]
    assert prepare["restart"] == "no"
    assert prepare["network_mode"] == "none"
    assert prepare["cap_drop"] == ["ALL"]
    assert prepare["security_opt"] == ["no-new-privileges:true"]


def test_only_storage_writes_the_janroot() -> None:
    writers = {
        name
        for name, service in services().items()
        for volume in service.get("volumes", [])
        if "janroot" in volume and not volume.endswith(":ro")
    }
    assert writers == {"prepare", "storage"}


def test_redis_keeps_an_append_only_file_and_has_no_port() -> None:
    assert {"--appendonly yes", "--port 0", "--maxmemory-policy noeviction"} <= set(services()["redis"]["command"])


def test_the_gateway_is_told_the_address_that_users_reach() -> None:
    environment = services()["gateway"]["environment"]
    assert environment["JANROOT_HOST"] == "127.0.0.1"
    assert environment["JANROOT_BIND"] == "0.0.0.0"
    assert environment["JANROOT_AUTH"] == ""  # a key decides


def test_the_gateway_downloads_nothing_unless_it_is_told_to() -> None:
    environment = services()["gateway"]["environment"]
    assert (environment["JANROOT_DOWNLOADS"], environment["JANROOT_DOWNLOAD_HOSTS"]) == ("off", "")


def test_the_gpu_overlay_reserves_gpus_on_a_pinned_image() -> None:
    overlay = services("docker-compose.gpu.yml")
    assert set(overlay) == {"inference"}
    (device,) = overlay["inference"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    dockerfile = (ROOT / overlay["inference"]["build"]["dockerfile"]).read_text(encoding="utf-8")
    assert re.search(r"^FROM vllm/vllm-openai:v\d+\.\d+\.\d+ ", dockerfile, re.MULTILINE)


def test_no_dockerfile_names_a_registry() -> None:
    for dockerfile in (ROOT / "deploy").glob("Dockerfile*"):
        text = dockerfile.read_text(encoding="utf-8")
        assert "--index" not in text
        assert "://" not in text


def test_the_gateways_image_has_the_same_command_as_the_environment() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    assert "COPY deploy/janroot /usr/local/bin/janroot\n" in dockerfile.partition("AS gateway")[2]
    assert "!deploy/janroot" in (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert (ROOT / "deploy/janroot").stat().st_mode & 0o111 == 0o111


def test_keys_of_remote_models_go_to_the_inference_service_alone() -> None:
    told = [name for name, service in services().items() if "JANROOT_REMOTE_KEYS" in service.get("environment", {})]
    assert told == ["inference"]
