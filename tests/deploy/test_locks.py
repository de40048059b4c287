"""The locks: complete, hashed, consistent, silent about where packages come from (docs/security.md S36)."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
CLIENTS = tuple(f"clients/{path.stem}" for path in sorted((REQUIREMENTS / "clients").glob("*.txt")))
LOCKS = ("services", "inference", "local", "dev", "build", "demo-model", *CLIENTS)


def packages(lock: str) -> dict[str, str]:
    """Each locked package with its version line and hashes."""
    text = (REQUIREMENTS / f"{lock}.txt").read_text(encoding="utf-8")
    entries = re.split(r"^(?=[a-z0-9])", text.replace("\\\n", " "), flags=re.MULTILINE)[1:]
    return {entry.split("==")[0]: entry.splitlines()[0] for entry in entries}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_is_pinned_and_hashed(lock: str) -> None:
    locked = packages(lock)
    assert locked
    for line in locked.values():
        assert re.match(r"[a-z0-9._-]+==[^ ]+ +--hash=sha256:[0-9a-f]{64}", line), line


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_names_a_registry(lock: str) -> None:
    text = (REQUIREMENTS / f"{lock}.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index" not in text
    assert "--find" not in text


def test_the_lock_of_the_clients_for_node_is_as_strict() -> None:
    lock = json.loads((REQUIREMENTS / "clients/node/package-lock.json").read_text(encoding="utf-8"))
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert {"node_modules/openai", "node_modules/ai"} <= set(packages)
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert package["version"], name
        assert "resolved" not in package, name


@pytest.mark.parametrize("lock", ["services", "inference", "local", "build"])
def test_the_development_lock_holds_the_same_versions(lock: str) -> None:
    dev = packages("dev")
    assert {name: dev.get(name) for name in packages(lock)} == packages(lock)


def test_a_package_other_than_the_locked_one_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "idna-1.0-py3-none-any.whl"
    wheel.write_bytes(b"not what was locked")
    requirement = tmp_path / "requirements.txt"
    requirement.write_text(f"idna @ {wheel.as_uri()} --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "install", "--require-hashes", "--no-deps", "--dry-run", "--no-index"]
    result = subprocess.run([*command, "-r", str(requirement)], capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "DO NOT MATCH THE HASHES" in result.stderr
