"""P5: one storage service per janroot. A second one names the first and leaves; a killed one is no obstacle."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.oracle import Finding
from tests.chaos.process import Run, scratch
from tests.chaos.results import Plan, Result
from tests.chaos.workloads import HOLDING

ONE_SERVICE = "a second storage service names the first and leaves"
FREE = "a killed storage service leaves the janroot free"


def experiment(plan: Plan) -> Result:
    """Try to take a janroot that is held, held by one that stands still, and held by one that was killed."""
    del plan  # it is short
    result = Result("P5", "a second storage service names the holder and leaves; after SIGKILL the janroot is free")
    findings, seconds = try_to_take()
    if findings:
        result.fail("the lock", findings, "short locks")
    result.did.append(f"free again {seconds * 1000:.0f} ms after the kill, a start included")
    return result


def try_to_take(bug: str = "") -> tuple[list[Finding], float]:
    """What must not be, and how long after a kill the next one had it."""
    with scratch() as folder, ThreadPoolExecutor(1) as elsewhere:
        found: list[Finding] = []
        with _holding(folder, bug) as holder:
            found += elsewhere.submit(_second, folder, holder.process.pid, bug).result()
            os.kill(holder.process.pid, signal.SIGSTOP)
            found += elsewhere.submit(_second, folder, holder.process.pid, bug).result()
        began = time.monotonic()
        with _holding(folder, bug) as next_one:
            if next_one.history.acknowledged_writes == 0:
                found.append(Finding(FREE, "the next one could not write"))
            return found, time.monotonic() - began


def _second(folder: Path, holder: int, bug: str) -> list[Finding]:
    with _holding(folder, bug) as run:
        if run.history.acknowledged_writes:
            return [Finding(ONE_SERVICE, "the second one wrote as well")]
        code, said = run.wait()
    if code == 0 or f"already in use by pid {holder} on host" not in said:
        return [Finding(ONE_SERVICE, f"it ended with {code}: {said}")]
    return []


@contextmanager
def _holding(folder: Path, bug: str) -> Iterator[Run]:
    """A process that took the janroot and wrote to it, or was refused and ended; killed afterwards."""
    run = Run(HOLDING, folder, bug)
    run.go()
    while run.history.acknowledged_writes == 0 and not run.is_over():
        time.sleep(0.002)
    try:
        yield run
    finally:
        run.process.kill()
        run.wait()
