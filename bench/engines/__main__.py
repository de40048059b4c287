"""`make bench-engines`: both engines, or the one that is named; prints tables for docs/benchmarks.md.

Bursts go A B, then B A, so that a machine whose speed drifts favours neither way, and each ratio is of two neighbours.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import uvloop

from bench.engines import product
from bench.engines.asking import Asker, Burst, Way
from bench.engines.report import Cell, cost_table, machine, speed_table
from inference_service.engines.vllm_python import find_vllm_python
from tests.fixtures.stack import Stack

ENGINES = ("llamacpp", "vllm")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: streams side by side, tokens an answer, minutes for each engine's rounds; and where."""

    streams: tuple[int, ...]
    tokens: int
    minutes: float
    answers: int
    apart: bool


async def measure(stack: Stack, model_id: str, plan: Plan) -> list[Cell]:
    """Pairs of bursts with each number of streams in turn until the time is over, at least one each."""
    cells = [Cell(streams) for streams in plan.streams]
    meter = product.Meter(stack)
    asker = Asker(plan.tokens)
    async with AsyncExitStack() as sessions:
        direct, through = product.direct(stack), product.through(stack, model_id)
        for way in (direct, through):
            await sessions.enter_async_context(way.session)
            await asker.burst(way, max(plan.streams), 1)  # warm
        ends_at = time.monotonic() + plan.minutes * 60
        for cell, ways in _turns(cells, direct, through):
            if time.monotonic() > ends_at and all(cell.pairs for cell in cells):
                break
            await _pair(cell, asker, plan, meter, ways)
            sys.stderr.write(f"{model_id}: {cell.streams} streams, pair {len(cell.pairs)}\n")
    return cells


def _turns(cells: list[Cell], one: Way, other: Way) -> Iterator[tuple[Cell, tuple[Way, Way]]]:
    """What to measure next, for ever: A B with every number of streams, then B A."""
    for ways in itertools.cycle([(one, other), (other, one)]):
        for cell in cells:
            yield cell, ways


async def _pair(cell: Cell, asker: Asker, plan: Plan, meter: product.Meter, ways: tuple[Way, Way]) -> None:
    """One burst each way, in the order given."""
    bursts: dict[str, Burst] = {}
    used: dict[str, float] = {}
    for way in ways:
        before = meter.seconds()
        bursts[way.name] = await asker.burst(way, cell.streams, plan.answers)
        if way.name != product.DIRECT:
            used = {name: seconds - before[name] for name, seconds in meter.seconds().items()}
    cell.note(bursts[product.DIRECT], bursts[product.THROUGH], used)


async def compare(stack: Stack, engine: str, plan: Plan) -> None:
    """Load, measure, print, unload."""
    model_id = f"bench-{engine}"
    await product.load(stack, model_id)
    if plan.apart:
        product.give_a_core(stack)
    cells = await measure(stack, model_id, plan)
    await product.unload(stack, model_id)
    place = ", the engine on a core of its own" if plan.apart else ""
    sys.stdout.write(f"\n{engine}: {machine()}{place}\n\n{speed_table(cells)}\n")
    sys.stdout.write(f"\nProcessor time, µs a token, while chats came through:\n\n{cost_table(cells)}\n")
    sys.stdout.flush()


def run(engines: list[str], plan: Plan) -> None:
    """Start the whole product with a model for each engine, measure one after the other, stop it."""
    with product.running(engines, apart=plan.apart) as stack:
        for engine in engines:
            uvloop.run(compare(stack, engine, plan))


def main() -> None:
    """Read the command line, say what is missing, measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.engines", description=__doc__)
    parser.add_argument(
        "engines", nargs="*", metavar="|".join(ENGINES), help="all that are installed when none is named"
    )
    parser.add_argument(
        "--streams",
        default="1,8,32",
        help="clients side by side; an engine takes 32 chats at once, the others wait for it",
    )
    parser.add_argument("--tokens", type=int, default=48, help="tokens of each answer")
    parser.add_argument("--minutes", type=float, default=4.0, help="for the rounds of each engine")
    parser.add_argument("--answers", type=int, default=1, help="answers of each client in a burst")
    parser.add_argument("--apart", action="store_true", help="the engine on a core of its own, all else on the others")
    args = parser.parse_args()
    engines = args.engines or list(ENGINES)
    if unknown := set(engines) - set(ENGINES):
        parser.error(f"no such engine: {', '.join(sorted(unknown))}")
    if "vllm" in engines and find_vllm_python(os.environ) is None:
        sys.stderr.write("vLLM is not installed here (make setup-vllm), so it is not measured.\n")
        engines.remove("vllm")
    streams = tuple(sorted(int(number) for number in args.streams.split(",")))
    run(engines, Plan(streams, args.tokens, args.minutes, args.answers, args.apart))


if __name__ == "__main__":
    main()
