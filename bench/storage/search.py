"""Search over a million messages: words that nearly all, some and one of them hold."""

import time
from functools import partial
from pathlib import Path

from bench.storage.janroots import WORDS, write_thread
from bench.storage.measures import tell, waits
from bench.storage.service import Service, until

THREADS = 10_000
MESSAGES_PER_THREAD = 100


async def measure(folder: Path) -> None:
    """One row for each kind of query, and one for the making of the index."""
    janroot = folder / "search"
    for number in range(THREADS):
        write_thread(janroot, number, MESSAGES_PER_THREAD)
    last = f"m{THREADS * MESSAGES_PER_THREAD // 2}"
    common = max(set(filter(str.isalpha, WORDS)), key=WORDS.count)
    queries = {
        "a word of one message": last,
        "a word of one thread": "n77",
        "the commonest word": common,
        "four words": f"{common} the messages service",
    }
    async with Service(folder, janroot) as service:

        async def indexed() -> bool:
            return bool((await service.search(f"n0 m{MESSAGES_PER_THREAD - 1}")).matches) and bool(
                (await service.search(last)).matches
            )

        began = time.perf_counter()
        await until(indexed)
        built = time.perf_counter() - began
        cost = service.cpu_seconds()
        rows = [[label, await waits(partial(service.search, query), 100)] for label, query in queries.items()]
        size = sum(path.stat().st_size for path in (janroot / ".server" / "index").glob("search*")) / 1e6
        rows.append(["made from nothing: seconds; processor time; MB on disk", f"{built:.0f}; {cost:.0f}; {size:.0f}"])
    tell(f"Search in {THREADS * MESSAGES_PER_THREAD:,} messages, milliseconds p50 / p99", ["query", "waits"], rows)
