"""The small process that is killed; see `nursery` for how it is started.

It runs a workload on a store, and tells each request on its socket: `{"begin": states}` before it, and
`{"acknowledge": states}` or `{"refuse": states}` when it was answered. It tells by `send`, so that the calls which
change the disk (`write`, `fsync`, ...) are the store's alone. As in the service, a disk that fails ends the process
with 74 before anybody is answered.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import sys
from pathlib import Path

import structlog

from jan.errors import StorageFullError
from storage_service.store.atomic import DiskFailedError
from storage_service.store.store import Store
from tests.chaos import oracle, planted, workloads
from tests.chaos.teller import Teller
from tests.chaos.writer import Writer

FIRST_MS = 1_790_000_000_000


class Clock:
    """The same times at every run, so that the n-th call is the same call."""

    def __init__(self) -> None:
        self._now_ms = FIRST_MS

    def __call__(self) -> int:
        self._now_ms += 1000
        return self._now_ms


def main(workload: str, janroot: str, channel_fd: str, seed: str, bug: str = "") -> None:
    """Run a workload to its end, unless something ends the process before."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if bug:
        planted.BUGS[bug].plant()
    try:
        with socket.socket(fileno=int(channel_fd)) as channel:
            channel.sendall(b"ready\n")
            channel.recv(2)  # whoever traces this process has joined it then
            root, clock = Path(janroot), Clock()
            chance, seen = random.Random(int(seed)), oracle.read(root)
            teller = Teller(channel)
            writer = Writer(lambda: Store.open(root, clock=clock), root, teller, chance=chance, seen=seen)
            workloads.BY_NAME[workload].run(writer)
            writer.store.close()
    except StorageFullError:  # outside a request: at a start, which is refused
        sys.exit(os.EX_TEMPFAIL)
    except (DiskFailedError, OSError) as error:  # the latter at a start: see `storage_service.__main__`
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(os.EX_IOERR)
