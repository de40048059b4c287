"""Runs the small process on a fresh janroot, and hears what it was acknowledged."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos import oracle
from tests.chaos.history import History
from tests.chaos.workloads import Workload

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 60.0
# Kills leave the kernel's memory alone, so a file system in memory shows the same and is quicker.
IN_MEMORY = Path("/dev/shm")


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="janroot-chaos-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as folder:
        yield Path(folder)


class Run:
    """One run of a workload below `folder`; it waits for `go`. What it told is in `history` once `wait` returns."""

    def __init__(self, workload: Workload, folder: Path, bug: str = "") -> None:
        self.janroot = folder / "janroot"
        self.janroot.mkdir(exist_ok=True)
        (self.janroot / "threads").mkdir(exist_ok=True)
        workload.prepare(self.janroot)
        self.history = History()
        self.history.settle(oracle.read(self.janroot).objects)
        self._channel, theirs = socket.socketpair()
        command = [sys.executable, "-m", "tests.chaos.driver", workload.name, str(self.janroot)]
        with theirs:
            self.process = subprocess.Popen(
                [*command, str(theirs.fileno()), *([bug] if bug else [])],
                cwd=ROOT,
                env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        self._listener = threading.Thread(target=self._listen)
        self._lines = self._channel.makefile("rb")
        if not self._lines.readline():
            raise RuntimeError(f"the small process did not start: {self.process.communicate()[1]}")

    def go(self) -> None:
        """Let it begin."""
        self._listener.start()
        self._channel.sendall(b"go")

    def wait(self) -> tuple[int, str]:
        """How the process ended, and what it said last; everything it told has been heard then."""
        _, said = self.process.communicate(timeout=TIMEOUT_SECONDS)
        self._listener.join()
        return self.process.returncode, said

    def _listen(self) -> None:
        with self._channel, self._lines:
            for line in self._lines:
                if line.endswith(b"\n"):
                    [(word, changes)] = json.loads(line).items()
                    getattr(self.history, word)(changes)
