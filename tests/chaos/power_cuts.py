"""F3: the power goes. The disk is an ext4 in a file, and a copy of that file is what a disk holds at that moment.

What the kernel had not written yet, data or names, is not in the copy. The writer is stopped while the file is copied,
and the copy must equal the file afterwards: so it is the state of one moment. It is mounted, its journal is replayed,
and then it is looked at as after a kill.
"""

from __future__ import annotations

import filecmp
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos import checks, mounts, recovery
from tests.chaos.oracle import Finding
from tests.chaos.process import Run, scratch
from tests.chaos.results import Plan, Result
from tests.chaos.workloads import ENDLESS

MEBIBYTES = 64
SHOTS_PER_DISK = 20
LEAST_SECONDS, MOST_SECONDS = 0.02, 0.25
# A control is given up when so many power cuts in a row cost nothing.
SHOTS_FOR_CONTROL = 30


def experiment(plan: Plan) -> Result:
    """Cut the power many times; then with fsync left out, which must be found."""
    result = Result("F3", "power cuts: nothing acknowledged is lost")
    shots, acknowledged = plan.amount(long=200, short=12), 0
    for first in range(0, shots, SHOTS_PER_DISK):
        seed = plan.draw(f"power cuts {first}")
        for number, (findings, writes) in enumerate(cuts(seed, min(SHOTS_PER_DISK, shots - first))):
            acknowledged += writes
            if findings:
                result.fail(
                    f"cut {first + number}",
                    findings,
                    f"{'long' if plan.long else 'short'} power-cuts --seed {plan.seed}",
                )
    result.did.append(f"{shots} cuts, {acknowledged} acknowledged writes in front of them")
    lost_at = is_found(plan.draw("control"), "no-fsync", checks.LOST)
    if lost_at is None:
        result.fail("the control", ["without fsync nothing was lost, so this experiment would not see a loss"])
    result.did.append(f"control without fsync lost acknowledged writes at cut {lost_at}")
    return result


def is_found(seed: int, bug: str, check: str) -> int | None:
    """At which cut a mistake is found by a check, the first being 1; None when it is not."""
    for number, (findings, _) in enumerate(cuts(seed, SHOTS_FOR_CONTROL, bug), 1):
        if check in {finding.check for finding in findings}:
            return number
    return None


def cuts(seed: int, shots: int, bug: str = "") -> Iterator[tuple[list[Finding], int]]:
    """Cut the power under one writer; tells what must not be, and how many writes were acknowledged since the last."""
    chance = random.Random(seed)
    with scratch() as folder, _writing(folder, seed, bug) as run:
        before = 0
        for _ in range(shots):
            _stop(run, chance.uniform(LEAST_SECONDS, MOST_SECONDS))
            history = run.heard()
            _copy(folder / "disk.img", folder / "cut.img")
            os.kill(run.process.pid, signal.SIGCONT)
            with mounts.mounted(folder / "cut", "-o", "loop", str(folder / "cut.img")):
                findings = recovery.inspect(history, folder / "cut/janroot")
            yield findings, history.acknowledged_writes - before
            before = history.acknowledged_writes


@contextmanager
def _writing(folder: Path, seed: int, bug: str) -> Iterator[Run]:
    mounts.make_ext4(folder / "disk.img", MEBIBYTES)
    with mounts.mounted(folder / "disk", "-o", "loop", str(folder / "disk.img")) as disk:
        (disk / "lost+found").rmdir()
        run = Run(ENDLESS, disk, bug, seed)
        mounts.sync(disk)
        run.go()
        try:
            yield run
        finally:
            run.process.kill()
            run.wait()


def _stop(run: Run, seconds: float) -> None:
    """Let the writer work for a time, or until it stops itself; then it stands still."""
    end = time.monotonic() + seconds
    while not _is_stopped(run):
        if time.monotonic() >= end:
            os.kill(run.process.pid, signal.SIGSTOP)
        time.sleep(0.001)


def _is_stopped(run: Run) -> bool:
    state = Path(f"/proc/{run.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
    if state == "Z":
        raise RuntimeError(f"the writer ended by itself: {run.wait()}")
    return state == "T"


def _copy(image: Path, copy: Path) -> None:
    """Copy a disk at one moment: whatever the kernel writes by itself meanwhile, the copy is taken again."""
    while True:
        shutil.copyfile(image, copy)
        if filecmp.cmp(image, copy, shallow=False):
            return
