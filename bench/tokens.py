"""What a streamed token costs each of Janroot's processes, and how much later it arrives.

`python -m bench.tokens`: an engine that costs next to nothing gives every stream a token at each of its steps.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import uvloop

from bench.chat import write_model
from bench.engines.asking import Asker, Way
from bench.engines.product import THROUGH, Meter
from bench.engines.report import Cell, cost_table, machine, speed_table
from bench.stepping_engine import MODEL
from tests.fixtures.stack import Stack, free_port


async def measure(stack: Stack, direct_url: str, streams: list[int], tokens: int, seconds: float) -> list[Cell]:
    """Bursts straight to the engine and through Janroot in turn, for about so many seconds with each number."""
    meter, asker, cells = Meter(stack), Asker(tokens), []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        direct, through = Way("direct", direct_url, MODEL, session), Way(THROUGH, stack.url, MODEL, session)
        await asker.burst(through, max(streams), 1)  # warm
        for number in streams:
            cell = Cell(number)
            cells.append(cell)
            ends_at = time.monotonic() + seconds
            while time.monotonic() < ends_at:
                straight = await asker.burst(direct, number, 1)
                before = meter.seconds()
                round_about = await asker.burst(through, number, 1)
                cell.note(straight, round_about, {n: used - before[n] for n, used in meter.seconds().items()})
    return cells


def main() -> None:
    """Read the command line, start everything, measure, print, stop."""
    parser = argparse.ArgumentParser(prog="python -m bench.tokens", description=__doc__)
    parser.add_argument("--streams", default="1,8,32", help="chats side by side")
    parser.add_argument("--tokens", type=int, default=200, help="tokens of each answer")
    parser.add_argument("--step-ms", type=float, default=50.0, help="time between an answer's tokens")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each number of streams")
    args = parser.parse_args()
    port = free_port()
    engine = subprocess.Popen([sys.executable, "-m", "bench.stepping_engine", str(port), str(args.step_ms)])
    with tempfile.TemporaryDirectory(prefix="jan-bench-") as folder:
        stack = Stack(Path(folder))
        url = f"http://127.0.0.1:{port}"
        write_model(stack.janroot, url, MODEL)
        try:
            stack.start_all()
            streams = [int(number) for number in args.streams.split(",")]
            cells = uvloop.run(measure(stack, url, streams, args.tokens, args.seconds))
        finally:
            stack.stop_all()
            engine.terminate()
            engine.wait()
    sys.stdout.write(f"{machine()}\n\n{speed_table(cells)}\n\nµs a token:\n\n{cost_table(cells)}\n")


if __name__ == "__main__":
    main()
