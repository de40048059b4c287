"""`python -m tests.planted [WORD ...]`: plant each mistake of `bugs.py` in a copy, and see its named test fail.

Words narrow it to mistakes whose names hold all of them. Exit code 1: a test does not notice its mistake, or fails
without one.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from tests.planted.bug import Bug
from tests.planted.bugs import BUGS
from tests.planted.copy import Copy

LANES: Final = 2
HANGS_SECONDS: Final = 15


def try_all(bugs: Sequence[Bug], folder: Path) -> list[str]:
    """What is wrong: nothing when each test passes without its mistake and fails with it."""
    copies: SimpleQueue[Copy] = SimpleQueue()
    for lane in range(LANES):
        copies.put(Copy(folder / str(lane)))

    def run(bug: Bug | None) -> str:
        copy = copies.get()
        try:
            return _caught(bug, copy) if bug else _passes(bugs, copy)
        finally:
            copies.put(copy)

    with ThreadPoolExecutor(LANES) as lanes:
        return [wrong for wrong in lanes.map(run, [None, *bugs]) if wrong]


def _passes(bugs: Sequence[Bug], copy: Copy) -> str:
    """Without mistakes all tests pass: else their failing says nothing."""
    names = sorted({bug.caught_by for bug in bugs})
    ends, said = copy.test(names, each_seconds=60)
    return "" if ends.keys() == {"passed"} else f"without any mistake: {ends}\n{said}"


def _caught(bug: Bug, copy: Copy) -> str:
    began = time.monotonic()
    with copy.planted(bug):
        ends, said = copy.test([bug.caught_by], each_seconds=HANGS_SECONDS)
    caught = "failed" in ends and "passed" not in ends
    print(f"{'caught' if caught else 'MISSED'} {time.monotonic() - began:4.1f} s  {bug.name}", flush=True)
    return "" if caught else f"{bug.name}: {bug.caught_by} said {ends}\n{said}"


def main() -> int:
    """Do what the command line says."""
    bugs = [bug for bug in BUGS if all(word in bug.name for word in sys.argv[1:])]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="jan-planted-") as folder:
        wrong = try_all(bugs, Path(folder))
    print(*wrong, sep="\n\n")
    print(f"{len(bugs)} mistakes planted, {len(wrong)} times something was wrong, {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
