"""What an engine says on its output: kept in a file of bounded size, with the last lines at hand."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_TAIL_LINES = 60


def log_name(model_id: str, copy: int) -> str:
    """What the log of one copy of a model is called; a second copy has a log of its own."""
    number = f".{copy + 1}" if copy else ""
    return f"engine-{model_id.replace('/', '_')}{number}.log"


class EngineLog:
    """Copies one pipe into `<path>`, and what was there before into `<path>.1`: at most twice `max_bytes` on disk.

    The copying is done by a thread, because writing a file may block and the event loop must not.
    """

    def __init__(
        self, path: Path, max_bytes: int = 4 * 1024 * 1024, on_line: Callable[[str], None] | None = None
    ) -> None:
        """Nothing is opened before `capture`; `on_line` is told every line, by the thread that copies."""
        self._path = path
        self._max_bytes = max_bytes
        self._on_line = on_line
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._thread: threading.Thread | None = None

    def capture(self, read_fd: int) -> None:
        """Take over the reading end of a pipe until it is closed on the other side. Raises OSError: no log folder."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._copy, args=(read_fd,), name=self._path.stem, daemon=True)
        self._thread.start()

    def tail(self) -> list[str]:
        """The last lines, oldest first, once the pipe is closed (waits for it a moment at most)."""
        if self._thread is not None:
            self._thread.join(timeout=1.0)
        return list(self._tail)

    def _copy(self, read_fd: int) -> None:
        with os.fdopen(read_fd, "rb") as pipe, self._path.open("ab") as log:
            for line in iter(lambda: pipe.readline(64 * 1024), b""):
                text = line.decode("utf-8", "replace").rstrip()
                self._tail.append(text)
                if self._on_line is not None:
                    self._on_line(text)
                self._write(log, line)

    def _write(self, log: BinaryIO, line: bytes) -> None:
        """A full disk costs log lines, never the engine: its pipe must go on being emptied."""
        try:
            if log.tell() + len(line) > self._max_bytes:
                self._path.with_suffix(".log.1").write_bytes(self._path.read_bytes())
                log.truncate(0)
            log.write(line)
            log.flush()
        except OSError:
            return
