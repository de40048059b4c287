"""`python -m tests.chaos.engines long|short [--seed N]`: kill engines under load, and print what held.

Exit code 1: a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys

from tests.chaos import results
from tests.chaos.engines.storm import Storm
from tests.chaos.results import Plan, Result


def experiment(plan: Plan) -> Result:
    """Let it storm."""
    result = Result("F8", "SIGKILL of engine processes under load: runs and chats on llama.cpp and a scripted engine")
    storm = Storm(plan.draw("engines"))
    asyncio.run(storm.rage(plan.amount(long=200, short=8)))
    if storm.findings:
        again = f"once more: python -m tests.chaos.engines {'long' if plan.long else 'short'} --seed {plan.seed}"
        result.fail(f"round {storm.rounds}", [*storm.findings[:10], again])
    kills = ", ".join(f"{count} {phase}" for phase, count in storm.kills.items())
    ends = ", ".join(f"{count} {end}" for end, count in sorted(storm.ends.items()))
    result.did.append(f"{storm.kills.total()} kills ({kills}) in {storm.rounds} rounds; {ends}")
    return result


def main() -> int:
    """Do what the command line says."""
    words = argparse.ArgumentParser(prog="python -m tests.chaos.engines", description=__doc__)
    words.add_argument("what", choices=["long", "short"])
    words.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = words.parse_args()
    plan = Plan(given.what == "long", given.seed)
    print(f"seed {plan.seed}", file=sys.stderr)
    done = [results.run(experiment, plan)]
    print(results.table(done, plan))
    return 1 if any(result.failures for result in done) else 0


if __name__ == "__main__":
    sys.exit(main())
