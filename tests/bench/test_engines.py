"""`make bench-engines` with tiny numbers: that it runs and tells what it promises, not how fast anything is."""

from __future__ import annotations

import re

import pytest
import uvloop

from bench.engines import product
from bench.engines.__main__ import Plan, compare
from bench.engines.asking import Burst, Heard
from bench.engines.report import Cell, cost_table, speed_table


def burst(tokens: int, seconds: float) -> Burst:
    return Burst((Heard(0.25, tokens),), seconds)


def test_the_ratio_is_that_of_neighbours() -> None:
    """A machine that gets slower all the time does not look like a cost of ours."""
    cell = Cell(streams=8)
    for seconds in (1.0, 2.0, 4.0):
        cell.note(burst(100, seconds), burst(98, seconds), {"gateway": 0.049, "redis": 0.0098})
    assert cell.ratios == pytest.approx([0.98] * 3)
    assert speed_table([cell]).splitlines()[-1] == "| 8 | 3 | 50.0 | 49.0 | 0.980 (0.980 to 0.980) | 250 | 250 |"
    assert cost_table([cell]).splitlines()[0] == "| streams | gateway | redis |"
    assert cost_table([cell]).splitlines()[-1] == "| 8 | 500 | 100 |"


@pytest.mark.engine
@pytest.mark.timeout(180)
def test_a_small_run_tells_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    with product.running(["llamacpp"]) as stack:
        uvloop.run(compare(stack, "llamacpp", Plan(streams=(1, 2), tokens=3, minutes=0, answers=1, apart=False)))
    told = capsys.readouterr().out
    for streams in (1, 2):
        row = rf"^\| {streams} \| 1( \| [\d.,]+){{2}} \| [\d.]+ \([\d.]+ to [\d.]+\)( \| [\d,]+){{2}} \|$"
        assert re.search(row, told, re.MULTILINE)
    assert "| streams | storage_service | inference_service | gateway | redis | engine |" in told
