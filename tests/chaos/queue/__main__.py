"""`python -m tests.chaos.queue long|short [--seed N] [--faults N]`: harm every process under load; print what held.

Exit code 1: a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from functools import partial

from tests.chaos import results
from tests.chaos.queue.faults import KINDS, PHASES
from tests.chaos.queue.storm import Storm
from tests.chaos.results import Plan, Result

# Each kind of fault once, and in the long form each twice in each phase; see faults.py.
SHORT = len(KINDS)
LONG = 2 * len(KINDS) * len(PHASES)


def experiment(plan: Plan, count: int) -> Result:
    """Let it storm."""
    result = Result(
        "F5-F7, F16", "each process killed, stopped, cut off, emptied, filled, its clock changed, under load"
    )
    storm = Storm(plan.draw("queue"))
    asyncio.run(storm.rage(count))
    if storm.findings:
        again = f"once more: python -m tests.chaos.queue short --seed {plan.seed} --faults {count}"
        result.fail(f"fault {storm.done.total()}, {storm.last_fault}", [*storm.findings[:10], again])
    done = ", ".join(f"{times} {what}" for what, times in sorted(storm.done.items()))
    ends = ", ".join(f"{times} {end}" for end, times in sorted(storm.ends.items()))
    result.did.append(f"{storm.done.total()} faults ({done}); {ends}; {storm.breaks} broken requests and streams")
    result.did.append(f"the last end came {storm.slowest_seconds:.1f} s after all was back")
    return result


def main() -> int:
    """Do what the command line says."""
    words = argparse.ArgumentParser(prog="python -m tests.chaos.queue", description=__doc__)
    words.add_argument("what", choices=["long", "short"])
    words.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    words.add_argument("--faults", type=int, help=f"so many; {LONG} and {SHORT} unless said")
    given = words.parse_args()
    plan = Plan(given.what == "long", given.seed)
    count = given.faults or plan.amount(long=LONG, short=SHORT)
    print(f"seed {plan.seed}", file=sys.stderr)
    done = [results.run(partial(experiment, count=count), plan)]
    print(results.table(done, plan))
    return 1 if any(result.failures for result in done) else 0


if __name__ == "__main__":
    sys.exit(main())
