"""`python -m tests.chaos.clients long|short [--seed N]`: clients that never read or send a byte at a time, and others.

Exit code 1: a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from math import inf

import uvloop

from tests.chaos import results
from tests.chaos.clients.attentive import read_all
from tests.chaos.clients.crowd import MOST_BYTES, Crowd
from tests.chaos.clients.hostile import drip_bodies, drip_heads, never_read
from tests.chaos.results import Plan, Result

MEBI = 1 << 20


def experiment(plan: Plan) -> Result:
    """Each kind of hostile client beside people who ask, one kind after the other."""
    result = Result("F14", "clients that never read, and clients that send a byte at a time, beside others")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_all(plan, result))
    return result


async def _all(plan: Plan, result: Result) -> None:
    async with Crowd.gathered() as crowd:
        await crowd.quiet(plan.amount(long=30, short=2))
        readers, slow = plan.amount(long=200, short=40), plan.amount(long=500, short=60)
        for name, clients, count, most_bytes in (
            ("that read all of it", read_all, readers, inf),  # to compare with: F14 bounds what hostile ones cost
            ("that never read", never_read, readers, MOST_BYTES),
            ("whose heads come byte by byte", drip_heads, slow // 2, MOST_BYTES),
            ("whose bodies come byte by byte", drip_bodies, slow - slow // 2, MOST_BYTES),
        ):
            seen = await crowd.beside(clients, count, most_bytes=most_bytes)
            told = ", ".join(f"{process} +{grown / MEBI:.0f} MiB" for process, grown in seen.grown_bytes.items())
            result.did.append(
                f"{count} {name}, gone after {seen.seconds:.0f} s at the latest: {told}; "
                f"{seen.answers} answers of others, median {seen.median_ms:.0f} ms, p99 {seen.p99_ms:.0f} ms"
            )
            if seen.findings:
                result.fail(name, seen.findings[:10])
        result.did.append(f"before that: median {crowd.before.median_ms:.0f} ms, p99 {crowd.before.p99_ms:.0f} ms")


def main() -> int:
    """Do what the command line says."""
    words = argparse.ArgumentParser(prog="python -m tests.chaos.clients", description=__doc__)
    words.add_argument("what", choices=["long", "short"])
    words.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = words.parse_args()
    plan = Plan(given.what == "long", given.seed)
    done = [results.run(experiment, plan)]
    print(results.table(done, plan))
    return 1 if any(result.failures for result in done) else 0


if __name__ == "__main__":
    sys.exit(main())
