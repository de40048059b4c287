"""F17: the harness bites. Each planted mistake must be found, by the check that was made for it."""

from __future__ import annotations

from tests.chaos import call_kills, planted, workloads
from tests.chaos.results import Plan, Result


def experiment(plan: Plan) -> Result:
    """Plant every mistake, one at a time, and kill where it shows."""
    del plan  # all of it is short
    result = Result("F17", "mistakes planted in the store are found, by name")
    for name, bug in planted.BUGS.items():
        every = call_kills.points(workloads.BY_NAME[bug.workload], name)
        chosen = [point for point in every if point.call in bug.calls]
        if not call_kills.is_found(chosen, name, bug.found_by):
            result.fail(name, [f"'{bug.found_by}' did not find it"])
    result.did.append(f"{len(planted.BUGS)} mistakes: {', '.join(planted.BUGS)}")
    return result
