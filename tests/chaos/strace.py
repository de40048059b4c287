"""strace, which counts a process's calls, kills it at one of them, or has one fail."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Everything by which our code, or what it uses, changes a disk. Opening a file anew is left out: the first write to it
# is the next point.
CALLS = (
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
)
_CALL = re.compile(r"^(?:\d+ +)?(\w+)\(")


class NoStraceError(Exception):
    """strace is not here, or may not trace."""


@contextmanager
def watching(pid: int, log: Path, *injections: str) -> Iterator[None]:
    """Let a process's calls go to `log` while the context is open, and have the injections happen.

    strace joins a process that is ready, since following a Python from its start takes a second more. Raises
    NoStraceError.
    """
    strace = shutil.which("strace")
    if strace is None:
        raise NoStraceError("strace is needed: apt-get install strace")
    rules = [word for injection in injections for word in ("-e", f"inject={injection}")]
    command = [strace, "-f", "-o", str(log), "-e", f"trace={','.join(CALLS)}", *rules, "-p", str(pid)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        if "attached" not in said:
            raise NoStraceError(f"strace may not trace here: {said.strip()}")
        yield


def calls(log: Path) -> Counter[str]:
    """How often each call was made."""
    return Counter(match[1] for line in log.read_text(errors="replace").splitlines() if (match := _CALL.match(line)))
