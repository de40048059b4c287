"""Stand before an engine with processes of its own: `python guard.py <parent pid> <folder or ""> <program> <word>...`.

vLLM's server starts a core and workers that go on for ever when the server alone is killed (seen with 0.32), so the tie
of `tether.py`, which ends one process, is not enough. This process stays, leads the group of all of them, and ends the
whole group when its parent ends (PR_SET_PDEATHSIG) or the server does; it ends as the server ended. Below the folder
that it is given it makes one for their sockets and temporary files, and it removes that and their shared memory at the
end (`scratch.py`). It is run as a plain file, and imports nothing but the standard library and that.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[2]))  # `python -I` knows the standard library alone
from inference_service.engines.scratch import Scratch

END_ALL = signal.SIGUSR1
"""Ends the group at once; what the kernel sends when our parent ends."""

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
_AWAITED = (END_ALL, signal.SIGTERM, signal.SIGCHLD)
_FIRST_LOOK_SECONDS = 1.0
_LAST_LOOK_SECONDS = 60.0  # what vLLM shares is made while it loads
_TRACKER = b"multiprocessing.resource_tracker"
_CLEANING_SECONDS = 2.0
_POLL_SECONDS = 0.02


def main(argv: list[str]) -> None:
    """Run `argv[2:]` for parent `argv[0]` with a folder below `argv[1]`; exits with 1 when that parent is gone."""
    # SIGTERM is passed on; the server's end is waited for, and its exit code is ours.
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    _die_with_parent(END_ALL, int(argv[0]))
    scratch = Scratch.make(Path(argv[1])) if argv[1] else None
    guard = os.getpid()
    server = os.fork()
    if server == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
        _die_with_parent(signal.SIGKILL, guard)
        os.environ.update(scratch.environment() if scratch else {})
        _become(argv[2:])
    exit_code = _watch(server, scratch)
    if scratch:
        scratch.note(_others_in_group())
    _end_others()
    if scratch:
        scratch.remove()
    _end_as(exit_code)


def _watch(server: int, scratch: Scratch | None) -> int:
    """Return when all is to end, with the server's exit code; what is shared is noted now and then, and before."""
    pause = _FIRST_LOOK_SECONDS
    while True:
        received = signal.sigtimedwait(_AWAITED, pause)
        if received is None:
            pause = min(_LAST_LOOK_SECONDS, pause * 2)
        elif received.si_signo == END_ALL:
            return -signal.SIGKILL
        elif received.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(server, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
        if scratch:
            scratch.note(_others_in_group())
        if received and received.si_signo == signal.SIGTERM:
            _send(signal.SIGTERM, _others_in_group())


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


def _end_others() -> None:
    """Kill the rest of the group. Python's resource trackers get a moment to remove what they know of, and to end."""
    until = time.monotonic() + _CLEANING_SECONDS
    while (others := _others_in_group()) and time.monotonic() < until:
        _send(signal.SIGKILL, [pid for pid in others if not _is_tracker(pid)])
        time.sleep(_POLL_SECONDS)
    _send(signal.SIGKILL, _others_in_group())


def _send(number: signal.Signals, pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


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
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (-exit_code,))
        signal.signal(-exit_code, signal.SIG_DFL) if exit_code not in (-signal.SIGKILL, -signal.SIGSTOP) else None
        os.kill(os.getpid(), -exit_code)
    sys.exit(exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
