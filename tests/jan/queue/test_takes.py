"""A take whose reply is lost: the client asks again, and that must not take a second job."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from redis.asyncio import Redis

from jan import keys
from jan.inference.v1 import jobs_pb2
from jan.queue.jobs import JobQueue
from jan.queue.look import look
from jan.queue.scripts import Scripts
from jan.redis import connect
from tests.chaos.queue.wire import Wire
from tests.fixtures.redis import RedisServer


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A socket's path is at most about a hundred bytes long."""
    with TemporaryDirectory(prefix="jan-wire-") as folder:
        yield Path(folder)


async def test_a_take_that_is_repeated_after_a_lost_reply_gets_the_same_job(
    redis: Redis, redis_server: RedisServer, short_folder: Path
) -> None:
    scripts = Scripts.register(redis)
    queue = JobQueue(redis, scripts)
    wire = Wire(short_folder / "wire.sock", redis_server.folder / "redis.sock", random.Random(1))
    async with wire.listening():
        client = connect(wire.url)
        far = JobQueue(client, Scripts.register(client))
        assert await far.take() is None  # connected, and the server knows the script
        for id_ in ("first", "second"):
            await queue.submit(jobs_pb2.Job(id=id_, tenant="ann", model=jobs_pb2.ModelSpec(id="m")))
        wire.cut(1)
        taken = await far.take()
        await client.aclose()
    assert wire.cuts == 1
    assert taken is not None
    assert (taken.job.id, taken.lease.attempt, taken.published) == ("first", 1, 0)
    assert [job.id for job in (await look(scripts)).running] == ["first"]


async def test_what_is_held_no_more_is_not_taken_again(redis: Redis) -> None:
    """The repeated take came too late: the job was put back meanwhile, and comes out as any other."""
    scripts = Scripts.register(redis)
    queue = JobQueue(redis, scripts)
    await queue.submit(jobs_pb2.Job(id="j", tenant="ann", model=jobs_pb2.ModelSpec(id="m")))
    taken = await queue.take()
    assert taken is not None
    await queue.hand_back(taken)
    again = await scripts.take(keys=[keys.leases("jobs")], args=[taken.lease.token, 2, 0, 0, 0])
    assert again[0] == b"j"
    assert await queue.take() is None
