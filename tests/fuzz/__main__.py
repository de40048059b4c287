"""`python -m tests.fuzz [--seed N] [--examples N] [--minutes N]`: Schemathesis asks what a Janroot's document allows.

And what it does not. Every answer must be one that `/openapi.json` tells: its status, its content type, its schema;
none may be a fault of the server. What is asked follows from the seed; with `--minutes` it goes on until those are
over. schemathesis.toml beside this file says what is checked, and why something is not. Exit code 1: an answer was
another one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from tests.fixtures.gateway import write_model
from tests.fixtures.stack import Stack
from tests.fuzz.engine import SILENT as DUMB
from tests.fuzz.engine import patient_engine
from tests.fuzz.objects import ELSEWHERE, EMBEDS, JANROOT, KNOWN, SILENT

_CONFIG: Final = Path(__file__).with_name("schemathesis.toml")
_KEY: Final = "sk-fuzz"


async def fuzz(runs: Sequence[Sequence[str]]) -> int:
    """Start everything, ask, stop it again; Schemathesis' worst exit code. runs: more words for each of its runs."""
    with tempfile.TemporaryDirectory(prefix="jan-fuzz-") as folder:
        async with AsyncExitStack() as open_:
            url = await open_.enter_async_context(patient_engine())
            settings = {
                "JANROOT_ADMIN_KEY": _KEY,
                "JANROOT_DOWNLOAD_HOSTS": url.removeprefix("http://"),
                "JANROOT_IMPORT_PATHS": folder,
            }
            stack = Stack(Path(folder), settings)
            await asyncio.to_thread(stack.start_all)
            write_models(stack.janroot, url)
            try:
                return max([await asyncio.to_thread(_ask, stack, url, words) for words in runs])
            finally:
                await open_.aclose()  # who waits for an answer that never comes waits no longer
                await asyncio.to_thread(stack.stop_all)


def write_models(janroot: Path, url: str) -> None:
    """One that answers, one that embeds, and one that never says a word."""
    for model_id, place, more in ((KNOWN, "", {}), (EMBEDS, "", {"embedding": True}), (SILENT, DUMB, {})):
        settings = {"n_parallel": 4096} | more
        write_model(janroot, model_id, sources=[{"url": f"{url}{place}/v1"}], settings=settings)


def _ask(stack: Stack, elsewhere: str, asked: Sequence[str]) -> int:
    command = [sys.executable, "-m", "schemathesis.cli", f"--config-file={_CONFIG}", "run"]
    command += [f"{stack.url}/openapi.json", "--header", f"Authorization: Bearer {_KEY}", "--no-color", *asked]
    known = {
        "OPENAI_BASE_URL": f"{stack.url}/v1",
        "OPENAI_API_KEY": _KEY,
        JANROOT: str(stack.janroot),
        ELSEWHERE: elsewhere,
    }
    code = subprocess.run(command, check=False, cwd=stack.folder, env=os.environ | known).returncode
    if code:
        print(stack.logs())
    return code


def main() -> int:
    """Do what the command line says."""
    words = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--examples", type=int, default=4, help="of each operation, in each phase")
    words.add_argument("--minutes", type=int, help="go on with fuzzing and links for so long")
    words.add_argument("only", nargs="*", help="more words for `schemathesis run`, behind --")
    given = words.parse_args()
    asked = ["--seed", str(given.seed), "--max-examples", str(given.examples)]
    return asyncio.run(fuzz([[*asked, *words, *given.only] for words in _phases(given.minutes)]))


def _phases(minutes: int | None) -> list[list[str]]:
    """All of them once; or half the time for bodies and half for links, which fuzzing would leave none."""
    if minutes is None:
        return [[]]
    half = ["--max-time", str(30 * minutes)]
    return [["--phases", "examples,coverage,fuzzing", *half], ["--phases", "examples,stateful", *half]]


if __name__ == "__main__":
    sys.exit(main())
