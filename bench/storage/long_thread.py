"""A thread of very many messages: the first page after a start, and pages from either end and the middle."""

from pathlib import Path

from bench.storage.janroots import thread_id, write_thread
from bench.storage.measures import tell, waits
from bench.storage.service import Service
from jan.storage.v1 import paging_pb2

MESSAGES = 100_000


async def measure(folder: Path) -> None:
    """One row for a thread that was never read, one for the next start."""
    write_thread(folder / "long", 0, MESSAGES)
    rows = [await row(folder, label) for label in ("never read before", "with its index kept")]
    columns = [f"thread of {MESSAGES:,} messages", "first page after a start", "newest", "oldest", "middle"]
    tell("A long thread, milliseconds p50 / p99", columns, rows)


async def row(folder: Path, label: str) -> list[str]:
    """One start, and pages."""
    long = thread_id(0)
    async with Service(folder, folder / "long") as service:
        first = (await waits(lambda: service.list_messages(long), times=1)).split(" / ")[0]
        newest = await waits(lambda: service.list_messages(long))
        oldest = await waits(lambda: service.list_messages(long, order=paging_pb2.ORDER_ASC))
        middle = await waits(lambda: service.list_messages(long, f"msg_0_{MESSAGES // 2}"))
    return [label, first, newest, oldest, middle]
