"""Which processes belong to a run folder, and how they are ended; by pid file, never by name."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

POLL_SECONDS = 0.05


def read_pid(path: Path) -> int | None:
    """The pid that a pid file holds; None when there is no file or no number in it."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def belongs_to(pid: int, run_dir: Path) -> bool:
    """Whether a living process was started for this run folder; a pid used again by a stranger is not.

    The process manager and Redis name a file in the folder on their command line; the services carry the process
    manager's socket in their environment (SUPERVISOR_SERVER_URL).
    """
    return f"{run_dir}/".encode() in _command_and_environment(pid)


def _command_and_environment(pid: int) -> bytes:
    """Empty for a process that is gone, a zombie, or somebody else's."""
    if Path("/proc/self/environ").exists():
        try:
            process = Path(f"/proc/{pid}")
            return (process / "cmdline").read_bytes() + b"\0" + (process / "environ").read_bytes()
        except OSError:
            return b""
    command = ["ps", "eww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, check=False).stdout


def living(run_dir: Path, names: Iterable[str]) -> dict[str, int]:
    """The named processes of a run folder that live, with their pids."""
    pids = ((name, read_pid(run_dir / f"{name}.pid")) for name in names)
    return {name: pid for name, pid in pids if pid is not None and belongs_to(pid, run_dir)}


def wait_until_gone(pid: int, run_dir: Path, seconds: float) -> bool:
    """Wait until a process of the run folder is gone; False when it lives on after `seconds`."""
    deadline = time.monotonic() + seconds
    while belongs_to(pid, run_dir):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def end(run_dir: Path, names: Iterable[str], seconds: float) -> list[str]:
    """End the named processes one after the other, by SIGTERM and after `seconds` each by SIGKILL.

    Their pid files go too. Returns the names of those that lived.
    """
    ended = []
    for name, pid in living(run_dir, names).items():
        ended.append(name)
        send(pid, signal.SIGTERM)
        if not wait_until_gone(pid, run_dir, seconds):
            send(pid, signal.SIGKILL)
            wait_until_gone(pid, run_dir, seconds)
        (run_dir / f"{name}.pid").unlink(missing_ok=True)
    return ended


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone by now."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
