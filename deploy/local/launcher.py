"""Run a command that ends when its parent dies: `python launcher.py command arguments...`.

The kernel sends SIGTERM to the process when its parent is gone, however it went (prctl(2), PR_SET_PDEATHSIG, kept
across exec). So a killed process manager leaves no orphan. Where there is no such call (macOS), the next `make up` or
`make down` ends what was left, by pid file.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel for SIGTERM at the parent's death; leave at once when it died before we asked."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("The parent died.")


if __name__ == "__main__":
    die_with_parent()
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 (no shell is the point)
