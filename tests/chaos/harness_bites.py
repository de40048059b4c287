"""F17: the harness bites. Each planted mistake must be found, by the check that was made for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from tests.chaos import call_kills, clocks, disk_faults, locks, power_cuts, recovery
from tests.chaos.planted import BUGS
from tests.chaos.process import Run, scratch
from tests.chaos.results import Plan, Result
from tests.chaos.workloads import BY_NAME

CLOCK_STARTS = 12


def experiment(plan: Plan) -> Result:
    """Plant every mistake, one at a time, and do what shows it."""
    result = Result("F17", "mistakes planted in the store are found, each by the check that was made for it")
    for bug, show in SHOWN_BY.items():
        if BUGS[bug].found_by not in show(bug, plan):
            result.fail(bug, [f"'{BUGS[bug].found_by}' did not find it"], plan.again("harness-bites"))
    result.did.append(f"{len(BUGS)} mistakes: {', '.join(BUGS)}")
    return result


def _by_kill(workload: str, calls: Iterable[str], bug: str, plan: Plan) -> set[str]:
    del plan
    chosen = [point for point in call_kills.points(BY_NAME[workload], bug) if point.call in calls]
    check = BUGS[bug].found_by
    return {check} if call_kills.is_found(chosen, bug, check) else set()


def _by_power_cut(bug: str, plan: Plan) -> set[str]:
    check = BUGS[bug].found_by
    return {check} if power_cuts.is_found(plan.draw(bug), bug, check) else set()


def _by_fault(fault: str, bug: str, plan: Plan) -> set[str]:
    del plan
    return {finding.check for finding in disk_faults.again(fault, bug)}


def _by_second_process(bug: str, plan: Plan) -> set[str]:
    del plan
    return {finding.check for finding in locks.try_to_take(bug)[0]}


def _by_workload(workload: str, bug: str, plan: Plan) -> set[str]:
    del plan
    with scratch() as folder:
        run = Run(BY_NAME[workload], folder, bug)
        run.go()
        found = [*disk_faults.went_on(*run.wait()), *recovery.inspect(run.history, run.janroot)]
        return {finding.check for finding in found}


def _by_clock(bug: str, plan: Plan) -> set[str]:
    return {finding.check for finding in clocks.jumps(plan.draw(bug), CLOCK_STARTS, bug).findings}


SHOWN_BY: dict[str, Callable[[str, Plan], set[str]]] = {
    "no-fsync": _by_power_cut,
    "no-dir-fsync": _by_power_cut,
    "ack-before-write": partial(_by_kill, "append-and-edit", ["write"]),
    "no-tail-repair": partial(_by_kill, "uploads-and-restarts", ["write"]),
    "write-in-place": partial(_by_kill, "append-and-edit", ["write", "fsync"]),
    "thread-not-whole": partial(_by_kill, "append-and-edit", ["rename"]),
    "no-lock": _by_second_process,
    "unchecked-ids": partial(_by_workload, "hostile-ids"),
    "fsync-again": partial(_by_fault, "append-and-edit:EIO:fsync:20"),
    "no-cutting-back": partial(_by_workload, "short-writes"),
    "times-of-the-clock": _by_clock,
    "trash-by-one-look": _by_clock,
}
