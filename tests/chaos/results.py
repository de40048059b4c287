"""What an experiment did and found, as lines for people and a table for docs/chaos.md."""

from __future__ import annotations

import os
import platform
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.chaos.oracle import Finding


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done, and from which seed: everything drawn by lot is drawn from it."""

    long: bool
    seed: int

    def amount(self, *, long: int, short: int) -> int:
        """How many of something."""
        return long if self.long else short

    def again(self, experiment: str) -> str:
        """The words that do one experiment once more in the same way."""
        return f"{'long' if self.long else 'short'} {experiment} --seed {self.seed}"

    def draw(self, of: object) -> int:
        """A seed for one part of the whole, always the same for the same part."""
        return random.Random(f"{self.seed} {of}").randrange(1 << 32)


@dataclass(slots=True)
class Result:
    """`figure` and `claim` say what is tried, `did` how often; `failures` must be empty."""

    figure: str
    claim: str
    did: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def fail(self, where: object, findings: Iterable[Finding | str], again: str = "") -> None:
        """Something was found; `again` are the words after `python -m tests.chaos` that show it once more."""
        told = "".join(f"\n  {finding}" for finding in findings)
        repeat = f"\n  once more: {sys.executable} -m tests.chaos {again}" if again else ""
        self.failures.append(f"{self.figure} at {where}:{told}{repeat}")


Experiment = Callable[[Plan], Result]


def run(experiment: Experiment, plan: Plan) -> Result:
    """Do an experiment, and tell on standard error how it went."""
    began = time.monotonic()
    result = experiment(plan)
    result.seconds = time.monotonic() - began
    verdict = "ok" if not result.failures else f"FAILED {len(result.failures)}"
    print(f"{result.figure} {verdict} {result.seconds:.0f} s: {'; '.join(result.did)}", file=sys.stderr, flush=True)
    for failure in result.failures[:20]:
        print(failure, file=sys.stderr, flush=True)
    return result


def table(results: Sequence[Result], plan: Plan) -> str:
    """The results as Markdown, with the machine, the day and the seed."""
    rows = [
        f"| {result.figure} | {result.claim} | {'; '.join(result.did)} | "
        f"{len(result.failures) or 'none'} | {result.seconds:.0f} s |"
        for result in results
    ]
    head = ["| # | tried | done | broken promises | took |", "|---|---|---|---|---|"]
    where = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    load = f"load average {os.getloadavg()[2]:.1f}"
    return "\n".join([f"{datetime.now(UTC):%Y-%m-%d}, {where}, {load}, seed {plan.seed}.", "", *head, *rows])
