"""F17: the harness bites. Each planted mistake must be found, by the check that was made for it."""

from __future__ import annotations

from tests.chaos import call_kills, planted, power_cuts, workloads
from tests.chaos.planted import Bug
from tests.chaos.results import Plan, Result


def experiment(plan: Plan) -> Result:
    """Plant every mistake, one at a time, and kill or cut the power where it shows."""
    result = Result("F17", "mistakes planted in the store are found, by name")
    for name, bug in planted.BUGS.items():
        if not _is_found(name, bug, plan):
            result.fail(name, [f"'{bug.found_by}' did not find it"])
    result.did.append(f"{len(planted.BUGS)} mistakes: {', '.join(planted.BUGS)}")
    return result


def _is_found(name: str, bug: Bug, plan: Plan) -> bool:
    if not bug.workload:
        return power_cuts.is_found(plan.draw(name), name, bug.found_by) is not None
    every = call_kills.points(workloads.BY_NAME[bug.workload], name)
    chosen = [point for point in every if point.call in bug.calls]
    return call_kills.is_found(chosen, name, bug.found_by)
