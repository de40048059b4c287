"""Stand before an engine with processes of its own: `python guard.py <parent pid> <program> <argument>...`.

vLLM's server starts a core and workers that go on for ever when the server alone is killed (seen with 0.32), so the tie
of `tether.py`, which ends one process, is not enough. This process stays, leads the group of all of them, and ends the
whole group when its parent ends (PR_SET_PDEATHSIG) or the server does; it ends as the server ended. Run as a plain
file, so it imports nothing but the standard library.

What a killed server leaves in /dev/shm, hundreds of MB, is removed by those who know that it was theirs: Python's
resource trackers, one in each such group, which do so when all others have ended. So they are killed last.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
_PARENT_ENDED = signal.SIGUSR1
_TRACKER = b"multiprocessing.resource_tracker"
_CLEANING_SECONDS = 2.0
_POLL_SECONDS = 0.02


def main(argv: list[str]) -> None:
    """Run `argv[1:]` for parent `argv[0]`; exits with 1 when that parent is already gone."""
    signal.signal(_PARENT_ENDED, lambda *_: _leave())
    # Who stops the group stops the server too: its end is waited for, and its exit code passed on.
    signal.signal(signal.SIGTERM, lambda *_: None)
    _die_with_parent(_PARENT_ENDED, int(argv[0]))
    guard = os.getpid()
    server = os.fork()
    if server == 0:
        _die_with_parent(signal.SIGKILL, guard)
        _become(argv[1:])
    _, status = os.waitpid(server, 0)
    _end_the_others()
    _end_as(os.waitstatus_to_exitcode(status))


def _die_with_parent(number: signal.Signals, parent: int) -> None:
    """Have the kernel send us a signal when our parent ends, then look whether it ended before the question."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number) != 0:
        sys.exit(f"cannot tie the engine to its parent: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the inference service ended before its engine began")


def _become(argv: list[str]) -> None:
    try:
        os.execvp(argv[0], argv)  # noqa: S606  # argv from a fixed schema, and no shell in between
    except OSError as error:
        print(f"cannot start {argv[0]}: {error.strerror}", file=sys.stderr, flush=True)  # noqa: T201  # for the log
        os._exit(127)


def _leave() -> None:
    """End the whole group, ourselves included."""
    try:
        _end_the_others()
    finally:
        os.killpg(0, signal.SIGKILL)


def _end_the_others() -> None:
    """Kill the rest of our group; trackers get a moment to clean up and to end by themselves."""
    _kill(pid for pid in _others_in_group() if not _is_tracker(pid))
    until = time.monotonic() + _CLEANING_SECONDS
    while _others_in_group() and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
    _kill(_others_in_group())


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _is_tracker(pid: int) -> bool:
    try:
        return _TRACKER in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _others_in_group() -> list[int]:
    """The living processes of our group (proc(5): the fifth field of `stat`; the second may hold spaces)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group, *_ = stat.read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue  # it ended while we looked
        pid = int(stat.parent.name)
        if int(group) == os.getpgrp() and state != "Z" and pid != os.getpid():
            found.append(pid)
    return found


def _end_as(exit_code: int) -> None:
    """Exit as the server did, a signal included."""
    if exit_code < 0:
        signal.signal(-exit_code, signal.SIG_DFL) if exit_code not in (-signal.SIGKILL, -signal.SIGSTOP) else None
        os.kill(os.getpid(), -exit_code)
    sys.exit(exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
