"""Runs the small process on a fresh janroot, and hears what it was acknowledged."""

from __future__ import annotations

import copy
import fcntl
import json
import select
import socket
import tempfile
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos import oracle
from tests.chaos.history import History
from tests.chaos.nursery import Child
from tests.chaos.workloads import Workload

# Kills leave the kernel's memory alone, so a file system in memory shows the same and is quicker.
IN_MEMORY = Path("/dev/shm")


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="janroot-chaos-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as folder:
        yield Path(folder)


class Run:
    """One run of a workload below `folder`; it waits for `go`. What it told is in `history` once `wait` returns."""

    def __init__(self, workload: Workload, folder: Path, bug: str = "", seed: int = 0) -> None:
        self.janroot = folder / "janroot"
        self.janroot.mkdir(exist_ok=True)
        (self.janroot / "threads").mkdir(exist_ok=True)
        workload.prepare(self.janroot)
        self.history = History()
        self.history.settle(oracle.read(self.janroot).objects)
        self._channel, theirs = socket.socketpair()
        with theirs:
            arguments = [workload.name, str(self.janroot), str(seed), *([bug] if bug else [])]
            self.process = Child(arguments, theirs, folder / "harness.said")
        self._lock = threading.Lock()
        self._rest = b""
        self._end: tuple[int, str] | None = None
        self._listener = threading.Thread(target=self._listen)
        if not self._channel.recv(6):
            raise RuntimeError(f"the small process did not start: {self.process.wait()}")

    def go(self) -> None:
        """Let it begin."""
        self._listener.start()
        self._channel.sendall(b"go")

    def wait(self) -> tuple[int, str]:
        """How the process ended, and what it said last; everything it told has been heard then."""
        if self._end is None:
            self._end = self.process.wait()
            self._listener.join()
        return self._end

    def is_over(self) -> bool:
        """Whether the process said all that it will say."""
        return not self._listener.is_alive()

    def heard(self) -> History:
        """A copy of everything that was told so far; the process must stand still."""
        waiting = bytearray(4)
        while True:
            with self._lock:
                fcntl.ioctl(self._channel, termios.FIONREAD, waiting)
                if not any(waiting):
                    return copy.deepcopy(self.history)

    def _listen(self) -> None:
        with self._channel:
            while select.select([self._channel], [], []):
                with self._lock:
                    data = self._channel.recv(1 << 16)
                    *lines, self._rest = (self._rest + data).split(b"\n")
                    for line in lines:
                        [(word, changes)] = json.loads(line).items()
                        getattr(self.history, word)(changes)
                if not data:
                    return
