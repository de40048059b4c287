"""`python -m tests.chaos long|short [EXPERIMENT ...] [--seed N]`, or `kill POINT`, `fault POINT` to see one again.

Prints a table in Markdown. Exit code 1: a promise was broken, or a mistake that was planted was not found.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from collections.abc import Sequence

import structlog

from tests.chaos import call_kills, clocks, disk_faults, harness_bites, kill_storm, locks, mounts, power_cuts, results
from tests.chaos.oracle import Finding
from tests.chaos.results import Experiment, Plan

EXPERIMENTS: dict[str, Experiment] = {
    "kill-storm": kill_storm.experiment,
    "call-kills": call_kills.experiment,
    "power-cuts": power_cuts.experiment,
    "disk-faults": disk_faults.experiment,
    "locks": locks.experiment,
    "clocks": clocks.experiment,
    "harness-bites": harness_bites.experiment,
}


def main() -> int:
    """Do what the command line says; see the module."""
    words = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    words.add_argument("what", choices=["long", "short", "kill", "fault"])
    words.add_argument("names", nargs="*", help=f"of {', '.join(EXPERIMENTS)}; or one point")
    words.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    words.add_argument("--bug", default="", help="a mistake to plant (kill, fault)")
    given = words.parse_args()
    # What the store warns of is what these experiments are made of.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if given.what in {"kill", "fault"}:
        [point] = given.names
        return _tell(
            call_kills.again(point, given.bug) if given.what == "kill" else disk_faults.again(point, given.bug)
        )
    mounts.enter_private_namespace()
    plan = Plan(given.what == "long", given.seed)
    print(f"seed {plan.seed}", file=sys.stderr)
    done = [results.run(EXPERIMENTS[name], plan) for name in given.names or EXPERIMENTS]
    print(results.table(done, plan))
    return 1 if any(result.failures for result in done) else 0


def _tell(findings: Sequence[Finding]) -> int:
    for finding in findings:
        print(finding)
    print(f"{len(findings)} broken promises", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
