"""A client leaves while Redis is away: its job is ended as soon as that can be."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from gateway.queueing import jobs as jobs_module
from gateway.queueing.jobs import JobClient
from jan import keys
from jan.errors import ResourceExhaustedError, UnavailableError
from jan.inference.v1 import jobs_pb2
from jan.queue.attendance import Attendance
from jan.queue.bounds import QueueBounds, Room
from jan.queue.follower import LogFollower
from jan.queue.jobs import CancelOutcome, JobQueue
from jan.queue.leases import LeaseKind
from jan.queue.scripts import Scripts
from jan.redis import connect
from tests.fixtures.redis import RedisServer

JOB = jobs_pb2.Job(id="chatcmpl-x", tenant="ann", model=jobs_pb2.ModelSpec(id="m"))


class WatchedQueue(JobQueue):
    """Says when a cancel has met a Redis that is away."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis, Scripts.register(redis))
        self.failed = asyncio.Event()

    async def cancel(self, job_id: str, *, tenant: str = "", may_come: bool = False) -> CancelOutcome:
        try:
            return await super().cancel(job_id, tenant=tenant, may_come=may_come)
        except (RedisError, OSError):
            self.failed.set()
            raise


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that the test may kill; it forgets nothing."""
    with tempfile.TemporaryDirectory(prefix="jan-redis-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()


@asynccontextmanager
async def connected(server: RedisServer) -> AsyncIterator[Redis]:
    client = connect(server.url)
    await client.config_set("appendfsync", "always")
    yield client
    await client.aclose()


async def test_a_cancel_that_meets_a_redis_that_is_away_is_repeated(own_server: RedisServer) -> None:
    async with connected(own_server) as redis:
        queue, follower = WatchedQueue(redis), LogFollower(redis)
        jobs = JobClient(queue, follower, Attendance(redis))
        async with follower.running(), jobs.running():
            async with jobs.attended(JOB):
                own_server.kill()
            await queue.failed.wait()
            own_server.start()
            async with asyncio.timeout(60):
                while await redis.hget(keys.job(JOB.id), "state") != b"ended":
                    pass
        assert await queue.take() is None


async def test_a_gateway_that_stops_with_cancels_undone_is_missed(
    own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not say that it leaves, so engine hosts see its lease stand still and end its jobs."""
    monkeypatch.setattr(jobs_module, "LAST_CANCELS_SECONDS", 0.01)

    async def no_reply(_queue: JobQueue, job_id: str, *, tenant: str = "", may_come: bool = False) -> CancelOutcome:
        raise RedisConnectionError("away")

    monkeypatch.setattr(JobQueue, "cancel", no_reply)
    async with connected(own_server) as redis:
        queue, follower, attendance = WatchedQueue(redis), LogFollower(redis), Attendance(redis)
        jobs = JobClient(queue, follower, attendance)
        async with follower.running(), jobs.running():
            async with jobs.attended(JOB):
                pass
            await queue.failed.wait()
        assert await redis.hexists(keys.leases(LeaseKind.GATEWAY), attendance.token)


class LateQueue(JobQueue):
    """A submit gets no reply, and reaches Redis behind the cancel that follows it."""

    async def submit_within(self, job: jobs_pb2.Job, bounds: QueueBounds) -> Room | None:
        raise RedisConnectionError("no reply")


async def test_a_submit_that_comes_behind_its_cancel_is_done_for_nobody_and_not_begun(redis: Redis) -> None:
    queue, follower = LateQueue(redis, Scripts.register(redis)), LogFollower(redis)
    jobs = JobClient(queue, follower, Attendance(redis))
    async with follower.running(), jobs.running():
        with pytest.raises(UnavailableError):
            async with jobs.attended(JOB):
                pass
        while await redis.hget(keys.job(JOB.id), "state") != b"ended":
            pass
        assert not await queue.submit(JOB)
        assert await queue.take() is None
        async with jobs.followed(JOB.id) as events:  # whoever finds it all the same is told
            [[event]] = [batch async for batch in events.batches()]
            assert event.HasField("cancelled")


async def test_a_job_that_was_refused_leaves_nothing_behind(redis: Redis) -> None:
    queue, follower = JobQueue(redis, Scripts.register(redis)), LogFollower(redis)
    jobs = JobClient(queue, follower, Attendance(redis), QueueBounds(of_tenant=0, in_all=0))
    async with follower.running(), jobs.running():
        for enter in (jobs.attended, jobs.outlasting):
            with pytest.raises(ResourceExhaustedError):
                async with enter(JOB):
                    pass
    assert not await redis.exists(keys.job(JOB.id))
