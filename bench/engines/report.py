"""The tables of a run, in Markdown. Pure but for reading the machine's name and load."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench.engines.asking import Burst


@dataclass(slots=True)
class Cell:
    """What was measured with so many streams: bursts of both ways, pair by pair, and processor seconds on the way."""

    streams: int
    pairs: list[tuple[Burst, Burst]] = field(default_factory=list)
    used_seconds: dict[str, float] = field(default_factory=dict)

    def note(self, direct: Burst, through: Burst, used_seconds: Mapping[str, float]) -> None:
        """Add a pair; `used_seconds` belongs to the second of it."""
        self.pairs.append((direct, through))
        for name, seconds in used_seconds.items():
            self.used_seconds[name] = self.used_seconds.get(name, 0.0) + seconds

    @property
    def ratios(self) -> list[float]:
        """Tokens/s through Janroot as a part of those of the direct burst beside it."""
        return [through.tokens_per_second / direct.tokens_per_second for direct, through in self.pairs]


def machine() -> str:
    """Where and when."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    name = models[0].partition(": ")[2] if models else platform.processor()
    now = datetime.now(UTC)
    return (
        f"{now:%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores of {name}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )


def speed_table(cells: Sequence[Cell]) -> str:
    """Tokens/s and first token of both ways. The ratio is the median of the pairs', with the middle half of them."""
    rows = [
        "| streams | pairs | direct, tokens/s | through | ratio (middle half) | first token direct, ms | through |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell in cells:
        direct, through = (_speed(cell, place) for place in (0, 1))
        low, high = _middle(cell.ratios)
        ratio = f"{statistics.median(cell.ratios):.3f} ({low:.3f} to {high:.3f})"
        first = " | ".join(f"{_first_ms(cell, place):,.0f}" for place in (0, 1))
        rows.append(f"| {cell.streams} | {len(cell.pairs)} | {direct:,.1f} | {through:,.1f} | {ratio} | {first} |")
    return "\n".join(rows)


def cost_table(cells: Sequence[Cell]) -> str:
    """Where processor time went while chats came through Janroot, in microseconds a token."""
    names = [*cells[0].used_seconds]
    rows = [f"| streams | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for cell in cells:
        tokens = sum(through.tokens for _, through in cell.pairs)
        costs = (cell.used_seconds[name] / tokens * 1e6 for name in names)
        rows.append(f"| {cell.streams} | {' | '.join(f'{cost:,.0f}' for cost in costs)} |")
    return "\n".join(rows)


def _speed(cell: Cell, place: int) -> float:
    return statistics.median(pair[place].tokens_per_second for pair in cell.pairs)


def _first_ms(cell: Cell, place: int) -> float:
    return statistics.median(heard.first_seconds for pair in cell.pairs for heard in pair[place].heard) * 1000


def _middle(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high
