"""`python -m tests.fuzz [--seed N] [--examples N]`: Schemathesis asks a Janroot what its document allows, and not.

Every answer must be one that `/openapi.json` tells: its status, its content type, its schema; none may be a fault of
the server. What is asked follows from the seed. schemathesis.toml beside this file says what is checked, and why
something is not. Exit code 1: an answer was another one.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.fixtures.gateway import write_model
from tests.fixtures.stack import Stack
from tests.fuzz.engine import patient_engine

_CONFIG: Final = Path(__file__).with_name("schemathesis.toml")
_KEY: Final = "sk-fuzz"
MODEL: Final = "known"


async def fuzz(seed: int, examples: int, only: list[str]) -> int:
    """Start everything, ask, stop it again; Schemathesis' exit code."""
    with tempfile.TemporaryDirectory(prefix="jan-fuzz-") as folder:
        settings = {"JANROOT_AUTH": "keys", "JANROOT_ADMIN_KEY": _KEY}
        stack = Stack(Path(folder), settings)
        async with patient_engine() as url:
            write_model(stack.janroot, MODEL, sources=[{"url": url}])
            await asyncio.to_thread(stack.start_all)
            try:
                return await asyncio.to_thread(_ask, stack, seed, examples, only)
            finally:
                await asyncio.to_thread(stack.stop_all)


def _ask(stack: Stack, seed: int, examples: int, only: list[str]) -> int:
    command = [sys.executable, "-m", "schemathesis.cli", f"--config-file={_CONFIG}", "run"]
    command += [f"{stack.url}/openapi.json", "--header", f"Authorization: Bearer {_KEY}", "--no-color"]
    command += ["--seed", str(seed), "--max-examples", str(examples), *only]
    code = subprocess.run(command, check=False, cwd=stack.folder).returncode
    if code:
        print(stack.logs())
    return code


def main() -> int:
    """Do what the command line says."""
    words = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--examples", type=int, default=5, help="of each operation, in each phase")
    words.add_argument("only", nargs="*", help="more words for `schemathesis run`, behind --")
    given = words.parse_args()
    return asyncio.run(fuzz(given.seed, given.examples, given.only))


if __name__ == "__main__":
    sys.exit(main())
