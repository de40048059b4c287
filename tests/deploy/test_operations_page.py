"""docs/operations.md names every setting, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("protos/jan", "gateway", "storage_service", "inference_service", "deploy/local")
# Ours, from the inference service to the engine it starts; never a user's to set.
INTERNAL = {"JANROOT_ENGINE_KEY"}


def names(text: str) -> set[str]:
    return set(re.findall(r"\bJANROOT_[A-Z_]+", text))


def test_every_setting_is_described_and_every_described_one_exists() -> None:
    code = {
        name for source in SOURCES for path in (ROOT / source).rglob("*.py") for name in names(path.read_text("utf-8"))
    }
    compose = names((ROOT / "docker-compose.yml").read_text("utf-8"))
    described = names((ROOT / "docs/operations.md").read_text("utf-8"))
    assert described == (code | compose) - INTERNAL


def test_every_command_is_in_make_help() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    phony = {name for line in re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE) for name in line.split()}
    explained = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert explained == phony
