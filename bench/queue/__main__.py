"""Measures in turn what the queue does and what plain Redis would, and what everything costs at rest."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from bench.storage.measures import tell
from bench.storage.service import cpu_seconds_of, whole_product
from tests.fixtures.redis import RedisServer

REST_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Way:
    """A way for something to go from one process through Redis to another; `sides.py` has both ends."""

    name: str
    sender: str
    taker: str


JOB_WAYS = (
    Way("the queue: enqueue, take, finish", "submit_jobs", "finish_jobs"),
    Way("a list: LPUSH, BRPOP", "push_list", "pop_list"),
    Way("a stream: XADD, XREAD", "add_to_stream", "read_stream"),
)
EVENT_WAYS = (
    Way("event logs: publish, follow", "publish_logs", "follow_logs"),
    Way("streams: XADD pipelined, XREAD", "add_to_streams", "read_streams"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """How many a second, and what each cost in processor time, which depends far less on the load than the rate."""

    rate: float
    redis_us: float
    sender_us: float
    taker_us: float


def measure(server: RedisServer, way: Way, count: int) -> Measured:
    """Have so many get to the other end, both ends working at once on an empty Redis."""
    with Redis.from_url(server.url) as redis:
        redis.flushall()
    ends = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.queue.sides", end, server.url, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for end in (way.sender, way.taker)
    ]
    for end in ends:
        assert end.stdout is not None
        assert end.stdout.readline() == "ready\n"
    before = cpu_seconds_of(server.pid)
    began = time.time()
    told = [tuple(map(float, end.communicate("go\n")[0].split())) for end in ends]
    assert all(end.returncode == 0 for end in ends)
    seconds = (cpu_seconds_of(server.pid) - before, told[0][1], told[1][1])
    return Measured(count / (max(done for done, _ in told) - began), *(each / count * 1e6 for each in seconds))


def compare(title: str, ways: Sequence[Way], count: int, rounds: int) -> None:
    """Measure each way as often, in turn, and print the medians, and the extremes of the rates."""
    found: dict[str, list[Measured]] = {way.name: [] for way in ways}
    with tempfile.TemporaryDirectory(prefix="jan-bench-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            for _ in range(rounds):
                for way in ways:
                    found[way.name].append(measure(server, way, count))
        finally:
            server.kill()
    tell(
        title,
        ("way", "a second", "rounds", "Redis µs", "sender µs", "taker µs"),
        [_row(name, rounds) for name, rounds in found.items()],
    )


def _row(name: str, rounds: Sequence[Measured]) -> Sequence[str]:
    rates = [one.rate for one in rounds]
    costs = [
        statistics.median(one.redis_us for one in rounds),
        statistics.median(one.sender_us for one in rounds),
        statistics.median(one.taker_us for one in rounds),
    ]
    return (
        name,
        f"{statistics.median(rates):,.0f}",
        f"{min(rates):,.0f} to {max(rates):,.0f}",
        *(f"{cost:.3g}" for cost in costs),
    )


def at_rest(seconds: float) -> None:
    """What the four processes take of one processor when nobody asks anything."""
    with whole_product() as stack:
        pids = {name: process.pid for name, process in stack.processes.items()}
        pids["redis"] = stack.redis.pid
        time.sleep(seconds / 2)
        before = {name: cpu_seconds_of(pid) for name, pid in pids.items()}
        time.sleep(seconds)
        rows = [(name, f"{(cpu_seconds_of(pid) - before[name]) / seconds:.2%}") for name, pid in pids.items()]
    tell("At rest", ("process", "of one core"), rows)


def main() -> None:
    """Measure jobs, events and rest."""
    parser = argparse.ArgumentParser(prog="python -m bench.queue")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=160_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rest-seconds", type=float, default=REST_SECONDS, help="0 leaves that out")
    asked = parser.parse_args()
    print(f"Load before: {os.getloadavg()[0]:.1f}")
    compare(f"Jobs, {asked.jobs} a round", JOB_WAYS, asked.jobs, asked.rounds)
    compare(f"Events, {asked.events} a round", EVENT_WAYS, asked.events, asked.rounds)
    if asked.rest_seconds:
        at_rest(asked.rest_seconds)


if __name__ == "__main__":
    main()
