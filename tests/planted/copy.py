"""A copy of the code in which a mistake can be planted and tests be run."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.planted.bug import ROOT, Bug

_PARTS = ("gateway", "inference_service", "storage_service", "protos", "tests", "deploy", "pyproject.toml")
_ENDS = re.compile(r"(\d+) (passed|failed|errors?)")
_HANGS = "+++ Timeout +++"


class Copy:
    """The code of today in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for part in _PARTS:
            source = ROOT / part
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / part)

    @contextmanager
    def planted(self, bug: Bug) -> Iterator[None]:
        """The copy with a mistake in it, until the block is left."""
        path = self._folder / bug.file
        right = path.read_text(encoding="utf-8")
        path.write_text(bug.planted_in(right), encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(right, encoding="utf-8")

    def test(self, names: Sequence[str], *, each_seconds: int) -> tuple[dict[str, int], str]:
        """Run tests. Returns how many `passed`, `failed` or were an `error`, and the end of what pytest said.

        A test that waits for what never comes has failed when its seconds are over, and no other is run after it. It is
        ended with its process: an exception may be lost in an event loop.
        """
        limit = (f"--timeout={each_seconds}", "--timeout-method=thread")
        plain = ("-p", "no:randomly", "-p", "no:cacheprovider", *limit, "--tb=short", "-q")
        # Compiled files of a planted mistake would outlive it. Processes that tests start take this code, too.
        paths = f"{self._folder}{os.pathsep}{self._folder / 'protos'}"
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *plain, *names],
            cwd=self._folder,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": paths, "TMPDIR": str(self._folder.parent)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        # Its Redis, which outlives a pytest that was ended so, has files for its output.
        out, errors = process.communicate()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if _HANGS in out + errors:
            return {"failed": 1}, errors[-2000:]
        last = out.rstrip().rpartition("\n")[2]
        return {what.removesuffix("s"): int(count) for count, what in _ENDS.findall(last)}, out[-2000:]
