"""The two ends of what is measured, each in a process of its own: who sends, and who takes.

`python -m bench.queue.sides <end> <url> <count>` does its part and prints the seconds since 1970 at which it was done,
and those of processor time that it used.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import uvloop
from redis.asyncio import Redis

from jan.inference.v1 import jobs_pb2
from jan.queue.follower import LogFollower
from jan.queue.jobs import JobQueue
from jan.queue.log import LogWriter
from jan.queue.scripts import Scripts
from jan.redis import connect

AT_ONCE = 16
LOGS = 16
BATCH = 16
"""Events that come together: what an engine says while the batch before travels to Redis."""
PAYLOAD = b"x" * 250
"""As long as a chunk of a chat."""
TENANTS = 8
MODEL = "m"
SECONDS_WITHOUT_WORK = 0.005

End = Callable[[Redis, int], Awaitable[None]]


async def submit_jobs(redis: Redis, count: int) -> None:
    """Enqueue jobs of several tenants."""
    queue = JobQueue(redis, Scripts.register(redis))

    async def submit(number: int) -> None:
        tenant = f"tenant{number % TENANTS}"
        model = jobs_pb2.ModelSpec(id=MODEL)
        await queue.submit(jobs_pb2.Job(id=f"j{number}", tenant=tenant, model=model, cost_tokens=100, body=PAYLOAD))

    await _together(submit, count)


async def finish_jobs(redis: Redis, count: int) -> None:
    """Take jobs, and end each with one event."""
    scripts = Scripts.register(redis)
    queue = JobQueue(redis, scripts)

    async def finish(_: int) -> None:
        while (taken := await queue.take()) is None:  # noqa: ASYNC110  another process tells nobody
            await asyncio.sleep(SECONDS_WITHOUT_WORK)
        await LogWriter(scripts, taken.lease).publish([PAYLOAD], ends=True, spent_tokens=90)

    await _together(finish, count)


async def push_list(redis: Redis, count: int) -> None:
    """Push onto a plain list."""
    await _together(lambda _: cast(Awaitable[object], redis.lpush("bench:list", PAYLOAD)), count)


async def pop_list(redis: Redis, count: int) -> None:
    """Pop from a plain list."""
    await _together(lambda _: cast(Awaitable[object], redis.brpop(["bench:list"], timeout=2)), count)


async def add_to_stream(redis: Redis, count: int) -> None:
    """Append to a plain stream."""
    await _together(lambda _: redis.xadd("bench:stream", {"p": PAYLOAD}), count)


async def read_stream(redis: Redis, count: int) -> None:
    """Read a plain stream, one entry a call as a job is taken."""
    last: Any = "0"
    for _ in range(count):
        while not (reply := cast(Any, await redis.xread({"bench:stream": last}, count=1, block=1000))):
            pass
        last = reply[0][1][-1][0]


async def publish_logs(redis: Redis, count: int) -> None:
    """Take a job for each log, and publish events to all of them at once."""
    scripts = Scripts.register(redis)
    queue = JobQueue(redis, scripts)

    async def publish(number: int) -> None:
        await queue.submit(jobs_pb2.Job(id=f"log{number}", tenant="t", model=jobs_pb2.ModelSpec(id=f"m{number}")))
        while (taken := await queue.take()) is None:  # noqa: ASYNC110  another process tells nobody
            await asyncio.sleep(SECONDS_WITHOUT_WORK)
        writer = LogWriter(scripts, taken.lease)
        left = count // LOGS
        while left:
            size = min(BATCH, left)
            left -= size
            await writer.publish([PAYLOAD] * size, ends=not left)

    await asyncio.gather(*map(publish, range(LOGS)))


async def follow_logs(redis: Redis, count: int) -> None:
    """Follow all logs to their ends over one connection."""
    follower = LogFollower(redis)

    async def follow(number: int) -> int:
        async with follower.follow(f"log{number}") as subscription:
            return sum([len(batch) async for batch in subscription.batches(1.0)])

    async with follower.running():
        counts = await asyncio.gather(*map(follow, range(LOGS)))
    assert sum(counts) == count // LOGS * LOGS, counts


async def add_to_streams(redis: Redis, count: int) -> None:
    """Append to plain streams, as many entries at once as events come together."""

    async def add(number: int) -> None:
        left = count // LOGS
        while left:
            size = min(BATCH, left)
            left -= size
            async with redis.pipeline(transaction=False) as pipeline:
                for _ in range(size):
                    pipeline.xadd(f"bench:stream{number}", {"p": PAYLOAD})
                await pipeline.execute()

    await asyncio.gather(*map(add, range(LOGS)))


async def read_streams(redis: Redis, count: int) -> None:
    """Read plain streams, all of them in one call."""
    cursors: dict[Any, Any] = {f"bench:stream{number}": "0" for number in range(LOGS)}
    left = count // LOGS * LOGS
    while left:
        for key, entries in cast(Any, await redis.xread(cursors, count=512, block=1000) or []):
            cursors[key.decode()] = entries[-1][0]
            left -= len(entries)


ENDS: dict[str, End] = {
    end.__name__: end
    for end in (
        submit_jobs,
        finish_jobs,
        push_list,
        pop_list,
        add_to_stream,
        read_stream,
        publish_logs,
        follow_logs,
        add_to_streams,
        read_streams,
    )
}


async def _together(step: Callable[[int], Awaitable[object]], count: int) -> None:
    """Do a step so many times, several at once."""
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            await step(number)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


async def _run(end: End, url: str, count: int) -> None:
    redis = connect(url)
    try:
        await redis.ping()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        used = time.process_time()
        await end(redis, count)
        sys.stdout.write(f"{time.time()} {time.process_time() - used}\n")
    finally:
        await redis.aclose()


if __name__ == "__main__":
    uvloop.run(_run(ENDS[sys.argv[1]], sys.argv[2], int(sys.argv[3])))
