"""Leases: a holder counts up; whoever sees the count stand still may take over. No clocks are compared."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from jan.inference.v1 import jobs_pb2
from jan.queue.jobs import JobQueue
from jan.queue.leases import LEASE_SECONDS, LeaseKind, LeaseLostError, LeaseState, LeaseWatch, renew
from jan.queue.log import LogWriter
from jan.queue.scripts import Scripts


async def test_a_silent_worker_loses_its_job_and_can_say_no_more(
    redis: Redis, scripts: Scripts, queue: JobQueue
) -> None:
    now = 0.0  # the observer's own monotonic clock, which this test moves by hand
    watch = LeaseWatch(redis, LeaseKind.JOB, monotonic=lambda: now)

    # A worker takes a job and holds its lease. The observer sees it for the first time.
    await queue.submit(jobs_pb2.Job(id="j"))
    taken = await queue.take()
    assert taken is not None
    assert await watch.stalled() == []

    # The worker renews: the count has moved when the observer looks again, so all is well.
    assert await renew(scripts, LeaseKind.JOB, [taken.lease]) == [LeaseState.HELD]
    now += LEASE_SECONDS / 2
    assert await watch.stalled() == []

    # Then it goes silent. A lease time later the count is what it was: the lease is stalled, and the job is released.
    now += LEASE_SECONDS / 2
    assert await watch.stalled() == []
    now += LEASE_SECONDS / 2
    [stalled] = await watch.stalled()
    await queue.reclaim(stalled)
    again = await queue.take()
    assert again is not None
    assert (again.job.id, again.lease.attempt) == ("j", 2)

    # The first worker was only asleep. What it says now is refused: its token is not the holder's any more.
    with pytest.raises(LeaseLostError):
        await LogWriter(scripts, taken.lease).publish([b"too late"])
