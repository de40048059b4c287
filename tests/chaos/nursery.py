"""Starts small processes quickly: a process that has imported everything, and forks when it is told to.

A Python that starts anew and imports the store costs a quarter of a second of a core, and the experiments start
hundreds. `python -m tests.chaos.nursery FD` answers each request on the socket FD (a JSON list of the driver's
arguments, with the driver's own socket attached) with the child's pid and, when it has ended, with its exit code.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.chaos import driver

ROOT = Path(__file__).resolve().parents[2]
_MOST_BYTES = 65536
_HERE = threading.local()


class Child:
    """A driver that was started for this thread; the next one only when this one has ended."""

    def __init__(self, arguments: Sequence[str], channel: socket.socket, said: Path) -> None:
        self._nursery = _nursery()
        self._said = said
        socket.send_fds(self._nursery, [json.dumps([str(said), *arguments]).encode()], [channel.fileno()])
        self.pid = int(self._nursery.recv(_MOST_BYTES))

    def kill(self) -> None:
        """End it; one that has ended already is no error."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> tuple[int, str]:
        """How it ended, and what it said last."""
        return int(self._nursery.recv(_MOST_BYTES)), self._said.read_text(errors="replace")


def _nursery() -> socket.socket:
    """This thread's own; it ends with the socket."""
    if not hasattr(_HERE, "nursery"):
        _HERE.nursery, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "tests.chaos.nursery", str(theirs.fileno())]
            subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
    nursery: socket.socket = _HERE.nursery
    return nursery


def main(channel_fd: int) -> None:
    """Fork as often as asked, until the other side hangs up."""
    with socket.socket(fileno=channel_fd) as channel:
        while True:
            data, fds, _, _ = socket.recv_fds(channel, _MOST_BYTES, 1)
            if not data:
                return
            pid = os.fork()
            if pid == 0:
                channel.close()
                said, workload, janroot, *rest = json.loads(data)
                _be_driver(said, [workload, janroot, str(fds[0]), *rest])
            os.close(fds[0])
            channel.sendall(str(pid).encode())
            _, status = os.waitpid(pid, 0)
            channel.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def _be_driver(said: str, arguments: Sequence[str]) -> None:
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    code = 1
    try:
        driver.main(*arguments)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001  the end of a process: it is told and its code says so
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(int(sys.argv[1]))
