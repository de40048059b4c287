"""Several things at once, but not all of many."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from jan.tasks import end

Result = TypeVar("Result")

MOST = 4


async def at_once(work: Sequence[Coroutine[Any, Any, Result]], name: str) -> list[Result]:
    """What each of them returns, at most four under way at a time. The first error ends all, and is raised."""
    gate = asyncio.Semaphore(MOST)
    found: dict[int, Result] = {}

    async def one(number: int, coroutine: Coroutine[Any, Any, Result]) -> None:
        async with gate:
            found[number] = await coroutine

    tasks = [asyncio.create_task(one(*numbered), name=name) for numbered in enumerate(work)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            await end(task)
        for coroutine in work:
            coroutine.close()  # those that never got their turn
    return [found[number] for number in range(len(tasks))]
