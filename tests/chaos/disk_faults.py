"""F4: a disk that fails, a disk that is full, writes that are cut short.

EIO and ENOSPC are put into each call in turn by strace. Small file systems are really filled, and a limit on the length
of files is really met: there the kernel writes half a line and refuses the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import mounts, recovery, strace
from tests.chaos.call_kills import WORKERS, points, sample
from tests.chaos.oracle import Finding
from tests.chaos.process import Run, scratch
from tests.chaos.results import Plan, Result
from tests.chaos.workloads import BY_NAME, FILLING, SCRIPTS, SHORT_WRITES, Workload

# What each error may befall. A full disk refuses bytes and names; a failing one anything that goes through to it.
CALLS = {"EIO": ("fsync", "write"), "ENOSPC": ("write", "mkdir", "rename", "linkat")}
STEP_WHEN_SHORT = 16
MEBIBYTES = 2

EXIT = "a failed disk ends the process with 74, unanswered"
AGAIN = "a failed fsync is never repeated"
REFUSED = "a full disk is told, and the next try succeeds"


@dataclass(frozen=True, slots=True)
class Fault:
    """An error at the n-th call of a kind, in one workload."""

    workload: Workload
    error: str
    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.workload.name}:{self.error}:{self.call}:{self.number}"


def experiment(plan: Plan) -> Result:
    """Each fault on its own, then disks that fill up."""
    result = Result("F4", "EIO, ENOSPC, short writes: nothing acknowledged is lost, what cannot be kept is refused")
    faults = list(_faults(plan))
    with ThreadPoolExecutor(WORKERS) as pool:
        for fault, findings in zip(faults, pool.map(put_in, faults), strict=True):
            if findings:
                result.fail(fault, findings, f"fault {fault}")
    for error in CALLS:
        result.did.append(f"{sum(fault.error == error for fault in faults)} times {error}")
    for name in ("tmpfs", "ext4"):
        refusals = 0
        for number in range(plan.amount(long=10, short=1)):
            findings, refused = fill(name, plan.draw(f"{name} {number}"))
            refusals += refused
            if findings:
                result.fail(f"{name} {number}", findings, plan.again("disk-faults"))
        result.did.append(f"{refusals} requests refused on a full {name}")
    return result


def put_in(fault: Fault, bug: str = "") -> list[Finding]:
    """Put one fault in; answers what must not be."""
    with scratch() as folder:
        log = folder / "harness.log"
        run = Run(fault.workload, folder, bug)
        with strace.watching(run.process.pid, log, f"{fault.call}:error={fault.error}:when={fault.number}"):
            run.go()
            code, said = run.wait()
        found = list(_broke_off(fault, log, code, said) if fault.error == "EIO" else went_on(code, said))
        return found + recovery.inspect(run.history, run.janroot)


def fill(kind: str, seed: int) -> tuple[list[Finding], int]:
    """Fill a small disk and make room again; answers what must not be, and how many requests were refused."""
    with scratch() as folder, _small_disk(folder, kind) as disk:
        # Room that the workload makes by removing it.
        (disk / "harness.ballast").write_bytes(os.urandom(400_000))
        run = Run(FILLING, disk, seed=seed)
        run.go()
        code, said = run.wait()
        return [*went_on(code, said), *recovery.inspect(run.history, run.janroot)], run.history.refusals


def again(fault: str, bug: str = "") -> list[Finding]:
    """One fault, named as it was printed."""
    name, error, call, number = fault.split(":")
    return put_in(Fault(BY_NAME[name], error, call, int(number)), bug)


def _faults(plan: Plan) -> Iterator[Fault]:
    for workload in SCRIPTS:
        every = points(workload)
        for error, calls in CALLS.items():
            if workload is SHORT_WRITES and error == "ENOSPC":
                continue  # It counts its refusals itself.
            chosen = [point for point in every if point.call in calls]
            if not plan.long:
                chosen = sample(chosen, STEP_WHEN_SHORT, plan.draw(f"{workload.name} {error}"))
            for point in chosen:
                yield Fault(workload, error, point.call, point.number)


def _broke_off(fault: Fault, log: Path, code: int, said: str) -> Iterator[Finding]:
    if code != os.EX_IOERR:
        yield Finding(EXIT, f"it ended with {code}: {said}")
    after = _lines_after_fault(log)
    if fault.call == "fsync" and any("fsync(" in line for line in after):
        yield Finding(AGAIN, f"after the fault came {after}")


def _lines_after_fault(log: Path) -> Sequence[str]:
    lines = log.read_text(errors="replace").splitlines()
    first = next((number for number, line in enumerate(lines) if "(INJECTED)" in line), len(lines))
    return lines[first + 1 :]


def went_on(code: int, said: str) -> Iterator[Finding]:
    """It may also say that it cannot start, if there is no room for the first files."""
    if code not in {0, os.EX_TEMPFAIL}:
        yield Finding(REFUSED, f"it ended with {code}: {said}")


@contextmanager
def _small_disk(folder: Path, kind: str) -> Iterator[Path]:
    if kind == "tmpfs":
        words = ["-t", "tmpfs", "-o", f"size={MEBIBYTES}m", "none"]
    else:
        mounts.make_ext4(folder / "disk.img", MEBIBYTES)
        words = ["-o", "loop", str(folder / "disk.img")]
    with mounts.mounted(folder / "disk", *words) as disk:
        if kind == "ext4":
            (disk / "lost+found").rmdir()
        yield disk
