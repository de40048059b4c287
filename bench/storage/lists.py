"""Starts, lists and the opening of a thread, in janroots of several sizes."""

import asyncio
import shutil
import time
from pathlib import Path

from bench.storage.janroots import thread_id, write_thread
from bench.storage.measures import tell, waits
from bench.storage.service import Service, until
from jan.storage.v1 import paging_pb2

SIZES = (1_000, 10_000, 100_000)
COLUMNS = [
    "threads",
    "ready, s",
    "all found, s",
    "processor time for it, s",
    "ready again, s",
    "first page",
    "page inside",
    "open a thread",
    "memory, MB",
]


async def measure(folder: Path) -> None:
    """One row for each size."""
    tell("Lists and opening, milliseconds p50 / p99", COLUMNS, [await row(folder, size) for size in SIZES])


async def row(folder: Path, size: int) -> list[object]:
    """One janroot: starts without and with what the last one left, lists, opens."""
    janroot = folder / f"list-{size}"
    for number in range(size):
        write_thread(janroot, number, 1)
    newest, middle, oldest = thread_id(size - 1), thread_id(size // 2), thread_id(0)
    async with Service(folder, janroot) as service:
        cold = service.ready_seconds
        began = time.perf_counter()

        async def all_found() -> bool:
            return (await service.list_threads(order=paging_pb2.ORDER_ASC)).threads[0].id == oldest

        await until(all_found)
        known = cold + time.perf_counter() - began
        cost = service.cpu_seconds()
    async with Service(folder, janroot) as service:
        await asyncio.sleep(5 + size / 5_000)  # The first look at all folders, and the watch, are for the start.
        first = await waits(service.list_threads)
        inside = await waits(lambda: service.list_threads(middle))
        opened = await waits(lambda: service.list_messages(newest))
        memory = service.memory_mb()
        warm = service.ready_seconds
    shutil.rmtree(janroot)
    return [f"{size:,}", f"{cold:.1f}", f"{known:.1f}", f"{cost:.1f}", f"{warm:.1f}", first, inside, opened, memory]
