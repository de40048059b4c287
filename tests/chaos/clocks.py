"""P12: the wall clock jumps by hours and years under the storage service, while eight writers work.

With gcc the whole process gets a clock of ours (a library loaded in front of libc); without it Python's `time` alone.
Every start, too, happens at another time, for that is when the trash is looked through.
"""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.chaos.lane import Lane
from tests.chaos.nursery import ROOT
from tests.chaos.results import Plan, Result

HOUR, YEAR = 3600, 365 * 86_400
JUMPS = (0, HOUR, -HOUR, YEAR, -YEAR)
JUMPS_PER_START = 4
SECONDS_PER_JUMP = 0.15

_IN_PYTHON = """
import os, struct, time
seconds = lambda: struct.unpack("q", open(os.environ["CHAOS_CLOCK"], "rb").read(8))[0]
time_ns, now = time.time_ns, time.time
time.time_ns, time.time = lambda: time_ns() + seconds() * 10**9, lambda: now() + seconds()
"""


class ClockLane(Lane):
    """A lane whose service lives by a clock that jumps; it is stopped by a kill like all others."""

    def __init__(self, folder: Path, chance: random.Random, bug: str = "") -> None:
        super().__init__(folder, chance, bug)
        self._clock = folder / "harness.clock"
        self._set(0)
        self._shim = compile_shim(folder / "harness.shim.so")

    def environment(self) -> Mapping[str, str]:
        """See Lane."""
        self._set(self._chance.choice(JUMPS))
        return {"CHAOS_CLOCK": str(self._clock)} | ({"LD_PRELOAD": str(self._shim)} if self._shim else {})

    def program(self) -> Sequence[str]:
        """See Lane."""
        return self._planted("" if self._shim else _IN_PYTHON)

    def disturb(self) -> None:
        """See Lane."""
        for _ in range(JUMPS_PER_START):
            self._set(self._chance.choice(JUMPS))
            time.sleep(SECONDS_PER_JUMP)

    def _set(self, seconds: int) -> None:
        with self._clock.open("r+b" if self._clock.exists() else "wb", buffering=0) as file:
            file.write(struct.pack("q", seconds))


def experiment(plan: Plan) -> Result:
    """Start, jump, kill, look, on one janroot."""
    result = Result("F16 (storage)", "clock jumps of an hour and a year, both ways: no loss, order kept (P12)")
    starts = plan.amount(long=40, short=5)
    lane = jumps(plan.draw("clocks"), starts)
    if lane.findings:
        result.fail(f"start {lane.kills}", lane.findings[:10], plan.again("clocks"))
    how = "under libc" if shutil.which("gcc") else "in Python's time, as gcc is not here"
    result.did.append(f"{starts * JUMPS_PER_START} jumps {how}, {starts} starts, {lane.writes} acknowledged writes")
    return result


def jumps(seed: int, starts: int, bug: str = "") -> Lane:
    """A lane after so many starts, or at the first finding."""
    with tempfile.TemporaryDirectory(prefix="janroot-chaos-") as folder:
        lane = ClockLane(Path(folder), random.Random(seed), bug)
        lane.storm(starts)
        return lane


def compile_shim(library: Path) -> Path | None:
    """The libc clock of ours as a library; None where there is no gcc."""
    gcc = shutil.which("gcc")
    if gcc is None:
        return None
    source = ROOT / "tests/chaos/clock_shim.c"
    subprocess.run([gcc, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    return library
