"""`make bench-queue` runs, in small."""

from __future__ import annotations

import asyncio
import sys

import pytest


@pytest.mark.slow
async def test_the_benchmark_of_the_queue_measures_all_ways() -> None:
    command = [sys.executable, "-m", "bench.queue", "--jobs=40", "--events=320", "--rounds=1", "--rest-seconds=0"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    ways = [line.split("|")[1].strip() for line in output.decode().splitlines() if line.count("|") == 7]
    assert [way for way in ways if way not in {"way", "---"}] == [
        "the queue: enqueue, take, finish",
        "a list: LPUSH, BRPOP",
        "a stream: XADD, XREAD",
        "event logs: publish, follow",
        "streams: XADD pipelined, XREAD",
    ]
