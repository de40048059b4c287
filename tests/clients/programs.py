"""Another's client as a process: in its own environment, knowing nothing of Janroot but its address and a key."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.clients.environments import HOME, NODE, node, python_of
from tests.fixtures.stack import EMBEDDER, MODEL

SCRIPTS = Path(__file__).parent / "scripts"
CALLS = "calls"
"""The model of `engine.py`."""
SECONDS = 200.0
"""When a client is given up, on a machine that may be busy."""


def run(client: str, script: str, *, url: str, folder: Path, **also: str) -> dict[str, dict[str, Any]]:
    """Run a script to its end, and return what each of its parts saw or why it failed; `also`: more variables."""
    done = subprocess.run(
        command(client, script, folder=folder),
        env=environment(url, folder) | also,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return told


def start(client: str, script: str, *arguments: str, url: str, folder: Path) -> subprocess.Popen[str]:
    """Start a script that tells line by line how far it is."""
    return subprocess.Popen(
        [*command(client, script, folder=folder), *arguments],
        env=environment(url, folder),
        stdout=subprocess.PIPE,
        text=True,
    )


def command(client: str, script: str, *, folder: Path) -> Sequence[str]:
    """How a script is run. Node looks for packages above a script's own place, so there it is run from a copy."""
    if client != NODE:
        return [str(python_of(client)), str(SCRIPTS / f"{script}.py")]
    packages = folder / "node_modules"
    if not packages.exists():
        packages.symlink_to(HOME / NODE / "node_modules")
    for source in SCRIPTS.glob("*.mjs"):
        (folder / source.name).write_bytes(source.read_bytes())
    return [str(node()), str(folder / f"{script}.mjs")]


def environment(url: str, folder: Path) -> dict[str, str]:
    """The variables by which every client of OpenAI is pointed elsewhere, and the names of the models."""
    return {
        "HOME": str(folder),
        "PYTHONUTF8": "1",
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": "unused",
        "JANROOT_MODEL": MODEL,
        "JANROOT_EMBEDDER": EMBEDDER,
        "JANROOT_CALLS": CALLS,
    }
