"""F1: a storm of SIGKILLs. The real service, over real gRPC, under load from eight writers, is killed again and again.

Forty threads: each writer has three of its own, on which it does everything that people do, and sixteen take messages
from all writers at once. Two such lanes run side by side. The files are looked at after each kill while nothing runs,
and the service is asked for everything once it is back.
"""

from __future__ import annotations

import random
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.chaos.lane import Lane
from tests.chaos.results import Plan, Result

LANES = 2
KILLS_PER_JANROOT = 50
# A storm in a teacup proves nothing: with fewer acknowledged writes in a second of load the run does not count.
LEAST_WRITES_PER_SECOND = 50


def experiment(plan: Plan) -> Result:
    """Let it storm on all lanes."""
    result = Result("F1", "SIGKILL of the storage service under load over gRPC, 8 writers on 40 threads a lane")
    kills = plan.amount(long=1000, short=40) // LANES
    with ThreadPoolExecutor(LANES) as pool:
        lanes = list(pool.map(lambda number: _storms(plan.draw(f"lane {number}"), kills), range(LANES)))
    for number, storms in enumerate(lanes):
        for storm in storms:
            if storm.findings:
                result.fail(f"lane {number}, kill {storm.kills}", storm.findings[:10], plan.again("kill-storm"))
    every = [storm for storms in lanes for storm in storms]
    done, writes = sum(storm.kills for storm in every), sum(storm.writes for storm in every)
    rate = LANES * writes / sum(storm.load_seconds for storm in every)
    result.did.append(f"{done} kills, {writes} acknowledged writes, {rate:.0f}/s of load")
    if rate < LEAST_WRITES_PER_SECOND:
        result.fail("the load", [f"{rate:.0f} writes a second are fewer than {LEAST_WRITES_PER_SECOND}"])
    return result


def _storms(seed: int, kills: int) -> list[Lane]:
    """Kill so many times, on a fresh janroot now and then; stops at the first finding."""
    chance, done = random.Random(seed), list[Lane]()
    while sum(lane.kills for lane in done) < kills and not (done and done[-1].findings):
        with tempfile.TemporaryDirectory(prefix="janroot-chaos-") as folder:
            done.append(Lane(Path(folder), chance))
            done[-1].storm(min(KILLS_PER_JANROOT, kills - sum(lane.kills for lane in done)))
    return done
