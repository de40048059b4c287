"""Event logs: what was said has numbers, so a reader can go away and come back without a gap or a repeat."""

from __future__ import annotations

from redis.asyncio import Redis

from jan.inference.v1 import jobs_pb2
from jan.queue.follower import LogFollower
from jan.queue.jobs import JobQueue
from jan.queue.log import LogWriter
from jan.queue.scripts import Scripts


async def test_a_log_is_followed_and_taken_up_again(redis: Redis, scripts: Scripts, queue: JobQueue) -> None:
    # Whoever holds a lease may write to its log.
    await queue.submit(jobs_pb2.Job(id="j"))
    taken = await queue.take()
    assert taken is not None
    writer = LogWriter(scripts, taken.lease)

    # One follower in a process reads any number of logs over one connection.
    follower = LogFollower(redis)
    async with follower.running():
        # A reader hears the first words, then its connection breaks.
        await writer.publish([b"The", b" capital"])
        async with follower.follow("j") as reader:
            heard = await anext(reader.batches(idle_seconds=5))
        assert [(entry.number, entry.payload) for entry in heard] == [(1, b"The"), (2, b" capital")]

        # The answer goes on without it, to its end.
        await writer.publish([b" is", b" Rome."], ends=True)

        # It comes back, here or in another gateway, and says what it heard last.
        async with follower.follow("j", after=2) as reader:
            rest = [entry async for batch in reader.batches(idle_seconds=5) for entry in batch]
        assert b"".join(entry.payload for entry in rest) == b" is Rome."
        assert rest[-1].ends
