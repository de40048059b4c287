"""Rates and waiting times, and how they are printed."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

SECONDS = 4.0


async def rate(clients: int, call: Callable[[int, int], Awaitable[object]]) -> float:
    """Calls a second that several clients get together, each waiting for its answer; told its number and its count."""
    end = time.perf_counter() + SECONDS

    async def client(number: int) -> int:
        count = 0
        while time.perf_counter() < end:
            await call(number, count)
            count += 1
        return count

    return sum(await asyncio.gather(*map(client, range(clients)))) / SECONDS


async def waits(call: Callable[[], Awaitable[object]], times: int = 300) -> str:
    """Median and 99th percentile of a call, in milliseconds."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        await call()
        taken.append((time.perf_counter() - began) * 1000)
    taken.sort()
    return f"{taken[times // 2]:.1f} / {taken[times * 99 // 100]:.1f}"


def tell(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table as soon as it is whole."""
    lines = [columns, ["---"] * len(columns), *rows]
    print(f"\n{title}\n", *(f"| {' | '.join(map(str, line))} |" for line in lines), sep="\n", flush=True)
