"""Jobs that a host cannot serve, and hosts that come and go, on a real Redis."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from jan import keys
from jan.inference.v1 import jobs_pb2
from jan.queue.hosts import Elsewhere, Hosts
from jan.queue.jobs import CancelOutcome, JobQueue, TakenJob
from jan.queue.scripts import Scripts

NOW = "local function now_ms() return tonumber(redis.call('GET', 'test:now') or '0') end\n"


@pytest.fixture
def scripts(redis: Redis) -> Scripts:
    """The scripts with a clock that the tests move."""
    return Scripts.register(redis, clock=NOW)


@pytest.fixture
def queue(redis: Redis, scripts: Scripts) -> JobQueue:
    return JobQueue(redis, scripts)


async def host(redis: Redis, scripts: Scripts, name: str, running: tuple[str, ...] = ()) -> Hosts:
    living = Hosts(redis, scripts, name, monotonic=lambda: 0.0)
    await living.beat(running, ())
    return living


async def submitted(queue: JobQueue, model: str = "m") -> str:
    job = jobs_pb2.Job(id=f"job_of_{model}", tenant="ann", model=jobs_pb2.ModelSpec(id=model), cost_tokens=10)
    assert await queue.submit(job)
    return job.id


async def take(queue: JobQueue) -> TakenJob:
    taken = await queue.take()
    assert taken is not None
    return taken


async def test_a_job_goes_round_the_living_hosts_once_and_then_the_reasons_are_told(
    queue: JobQueue, redis: Redis, scripts: Scripts
) -> None:
    one, other = await host(redis, scripts, "one"), await host(redis, scripts, "other")
    await submitted(queue)
    assert await queue.pass_on(await take(queue), one.id, "one: no memory") == []
    again = await take(queue)
    assert again.lease.attempt == 1
    assert await queue.pass_on(again, one.id, "one: no memory") == []
    last = await take(queue)
    reasons = await queue.pass_on(last, other.id, "other: no file")
    assert reasons == ["one: no memory", "other: no file"]
    assert await queue.pass_on(last, other.id, "other: no file") == reasons  # it is still in hand
    assert await queue.take() is None


async def test_a_host_that_has_left_is_not_waited_for(queue: JobQueue, redis: Redis, scripts: Scripts) -> None:
    one, other = await host(redis, scripts, "one"), await host(redis, scripts, "other")
    await other.leave()
    await submitted(queue)
    assert await queue.pass_on(await take(queue), one.id, "one: no memory") == ["one: no memory"]


async def test_a_host_that_stands_still_is_forgotten(redis: Redis, scripts: Scripts) -> None:
    now = 0.0
    watcher = Hosts(redis, scripts, "watcher", lease_seconds=8, monotonic=lambda: now)
    silent = await host(redis, scripts, "silent", ("m",))
    for now in (0.0, 2.0, 9.0):  # noqa: B007  # the clock reads it
        await watcher.beat((), ())
        assert watcher.elsewhere == Elsewhere(running=frozenset({"m"}))
    now = 10.5
    await watcher.beat((), ())
    await watcher.beat((), ())
    assert watcher.elsewhere == Elsewhere()
    await silent.beat((), ("m",))
    await watcher.beat((), ())
    assert watcher.elsewhere == Elsewhere(loading=frozenset({"m"}))


async def test_a_job_passed_on_keeps_its_place_and_a_cancelled_one_ends(
    queue: JobQueue, redis: Redis, scripts: Scripts
) -> None:
    one, _ = await host(redis, scripts, "one"), await host(redis, scripts, "other")
    await submitted(queue, "m")
    first = await take(queue)
    await queue.submit(jobs_pb2.Job(id="later", tenant="ann", model=jobs_pb2.ModelSpec(id="m"), cost_tokens=1))
    await queue.pass_on(first, one.id, "one: no")
    first = await take(queue)
    assert first.job.id == "job_of_m"
    assert await queue.cancel(first.job.id) is CancelOutcome.CANCELLING
    assert await queue.pass_on(first, one.id, "one: no") == []
    assert await redis.hget(keys.job("job_of_m"), "state") == b"ended"


async def test_somebody_elses_job_is_not_passed_on(queue: JobQueue, redis: Redis, scripts: Scripts) -> None:
    one, _ = await host(redis, scripts, "one"), await host(redis, scripts, "other")
    await submitted(queue)
    stale = await take(queue)
    await queue.hand_back(stale)
    held = await take(queue)
    assert await queue.pass_on(stale, one.id, "one: no") == []
    assert await redis.hget(keys.job(held.job.id), "state") == b"running"


async def test_a_job_is_left_to_a_host_that_has_its_model_for_a_time(queue: JobQueue, redis: Redis) -> None:
    await submitted(queue, "m")
    await submitted(queue, "n")
    await redis.set("test:now", keys.ELSEWHERE_SECONDS * 1000 - 1, ex=60)
    taken = await queue.take(models_elsewhere=["m"])
    assert taken is not None
    assert taken.job.model.id == "n"
    assert await queue.take(models_elsewhere=["m"]) is None
    await redis.set("test:now", keys.ELSEWHERE_SECONDS * 1000, ex=60)
    assert await queue.take(["m"], ["m"]) is None
    taken = await queue.take(models_elsewhere=["m"])
    assert taken is not None
    assert taken.job.model.id == "m"


@pytest.mark.parametrize("passes_on", [True, False])
async def test_a_job_that_comes_back_ages_on(queue: JobQueue, redis: Redis, scripts: Scripts, passes_on: bool) -> None:
    """One host takes a batch job each second and gives it back; the other is busy with interactive jobs."""
    one, _ = await host(redis, scripts, "one"), await host(redis, scripts, "other")
    batch = jobs_pb2.Job(id="batch", tenant="ann", model=jobs_pb2.ModelSpec(id="m"), priority=jobs_pb2.PRIORITY_BATCH)
    await queue.submit(batch)
    served = []
    for second in range(1, keys.BATCH_AGES_SECONDS + 1):
        await redis.set("test:now", second * 1000, ex=60)
        spec = jobs_pb2.ModelSpec(id="n")
        urgent = jobs_pb2.Job(id=str(second), tenant="bob", model=spec, priority=jobs_pb2.PRIORITY_INTERACTIVE)
        await queue.submit(urgent)
        taken = await queue.take(["n"])
        assert taken is not None
        if passes_on:
            assert await queue.pass_on(taken, one.id, "one: no memory") == []
        else:
            await queue.hand_back(taken)
        served.append((await take(queue)).job.id)
    assert served[-1] == "batch"
    assert served[:-1] == [str(second) for second in range(1, keys.BATCH_AGES_SECONDS)]


async def test_a_running_job_that_was_forgotten_alone_runs_no_more(
    queue: JobQueue, redis: Redis, scripts: Scripts
) -> None:
    forgotten, known = await submitted(queue), await submitted(queue, "other")
    await take(queue)
    await take(queue)
    await redis.delete(keys.job(forgotten))
    await host(redis, scripts, "a")
    assert await redis.zrange(keys.RUNNING, 0, -1) == [f"{known} other".encode()]
