"""F2: SIGKILL at every call that changes the disk.

A workload is run once to count its calls. Then it is run again for each of them on a fresh janroot, and that call kills
the process on its way into the kernel: what was done before it stays, and it is not done itself.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import recovery, strace
from tests.chaos.oracle import Finding
from tests.chaos.process import Run, scratch
from tests.chaos.results import Plan, Result
from tests.chaos.workloads import BY_NAME, SCRIPTS, Workload

WORKERS = 3
STEP_WHEN_SHORT = 4


@dataclass(frozen=True, slots=True)
class Point:
    """The n-th call of a kind, in one workload."""

    workload: Workload
    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.workload.name}:{self.call}:{self.number}"


def points(workload: Workload, bug: str = "") -> list[Point]:
    """Every point of a workload, in no order; the workload must come to its end when nobody kills it."""
    with scratch() as folder:
        log = folder / "harness.log"
        run = Run(workload, folder, bug)
        with strace.watching(run.process.pid, log):
            run.go()
            code, said = run.wait()
        if code != 0:
            raise RuntimeError(f"{workload.name} ended with {code}: {said}")
        found = recovery.inspect(run.history, run.janroot)
        if found and not bug:
            raise RuntimeError(f"{workload.name}, without a kill: {found[0]}")
        return [
            Point(workload, call, number + 1) for call, count in strace.calls(log).items() for number in range(count)
        ]


def sample(every: Sequence[Point], step: int, seed: int) -> list[Point]:
    """Each `step`-th point, from a first one that the seed decides."""
    return list(every[random.Random(seed).randrange(step) :: step])


def kill_at(point: Point, bug: str = "") -> list[Finding]:
    """Kill at one point, and answer what must not be afterwards."""
    with scratch() as folder:
        injection = f"{point.call}:signal=SIGKILL:when={point.number}"
        run = Run(point.workload, folder, bug)
        with strace.watching(run.process.pid, Path("/dev/null"), injection):
            run.go()
            code, said = run.wait()
        if code != -signal.SIGKILL:
            return [Finding("the kill happens", f"{point} ended with {code}: {said}")]
        return recovery.inspect(run.history, run.janroot)


def kill_at_each(chosen: Sequence[Point], bug: str = "") -> dict[Point, list[Finding]]:
    """The points at which something was found."""
    with ThreadPoolExecutor(WORKERS) as pool:
        found = pool.map(lambda point: kill_at(point, bug), chosen)
        return {point: findings for point, findings in zip(chosen, found, strict=True) if findings}


def is_found(chosen: Sequence[Point], bug: str, check: str) -> bool:
    """Whether a mistake is found by a check, at one point or another; looks no further then."""
    with ThreadPoolExecutor(WORKERS) as pool:
        kills = [pool.submit(kill_at, point, bug) for point in chosen]
        for kill in as_completed(kills):
            if check in {finding.check for finding in kill.result()}:
                pool.shutdown(cancel_futures=True)
                return True
    return False


def experiment(plan: Plan) -> Result:
    """Kill at every call of every script, or at each fourth."""
    result = Result("F2", "SIGKILL at every call that changes the disk, in scripted workloads")
    for workload in SCRIPTS:
        every = points(workload)
        chosen = every if plan.long else sample(every, STEP_WHEN_SHORT, plan.seed)
        for point, findings in kill_at_each(chosen).items():
            result.fail(point, findings, f"kill {point}")
        result.did.append(f"{workload.name}: {len(chosen)} of {len(every)} calls")
    return result


def again(point: str, bug: str = "") -> list[Finding]:
    """Kill at one point, named as it was printed."""
    name, call, number = point.split(":")
    return kill_at(Point(BY_NAME[name], call, int(number)), bug)
