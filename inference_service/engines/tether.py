"""Become another program that dies with its parent: `python tether.py <parent pid> <program> <argument>...`.

The kernel is asked to kill this process when its parent ends (PR_SET_PDEATHSIG, kept across exec), then it is checked
that the parent did not end before the question. Run as a plain file, so it imports nothing but the standard library.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


def main(argv: list[str]) -> None:
    """Tie this process to parent `argv[0]` and exec `argv[1:]`; exits with 1 when that parent is already gone."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        sys.exit(f"cannot tie the engine to its parent: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != int(argv[0]):
        sys.exit("the inference service ended before its engine began")
    os.execvp(argv[1], argv[1:])  # noqa: S606  # argv from a fixed schema, and no shell in between


if __name__ == "__main__":
    main(sys.argv[1:])
