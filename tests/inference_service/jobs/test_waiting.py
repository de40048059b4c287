"""A job tells what it waits for while its model is not there, and nothing when it is."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from inference_service.jobs import waiting
from inference_service.jobs.waiting import WaitsTold
from inference_service.models.model import RunningModel
from inference_service.models.pool import Models
from jan import keys
from jan.inference.v1 import jobs_pb2
from jan.queue.jobs import JobQueue, TakenJob
from jan.queue.look import look
from jan.queue.scripts import Scripts
from jan.queue.waits import Wait, WaitKind
from tests.inference_service.fake_engine import FakeMaker, host, settle, spec
from tests.inference_service.memory.test_placement import cpu


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.0)


async def taken(redis: Redis, job_id: str, **model: str) -> TakenJob:
    queue = JobQueue(redis, Scripts.register(redis))
    await queue.submit(jobs_pb2.Job(id=job_id, tenant="ann", model=spec(**model)))
    found = await queue.take()
    assert found is not None
    return found


async def hold(redis: Redis, models: Models, job: TakenJob, until: asyncio.Event) -> RunningModel:
    async with WaitsTold(Scripts.register(redis), models, job).model() as running:
        await until.wait()
        return running


async def told(redis: Redis, job_id: str) -> Wait | None:
    return (await look(Scripts.register(redis))).held.get(job_id)


async def until_told(redis: Redis, job_id: str, *, kind: WaitKind | None, progress: float | None = None) -> Wait | None:
    while True:
        wait = await told(redis, job_id)
        if (wait and (wait.kind, wait.progress)) == (kind and (kind, progress)):
            return wait


async def test_a_load_is_told_with_its_progress_and_its_end(redis: Redis, maker: FakeMaker) -> None:
    maker.may_start.clear()
    job, enough = await taken(redis, "j"), asyncio.Event()
    async with host(maker) as models:
        task = asyncio.create_task(hold(redis, models, job, enough))
        wait = await until_told(redis, "j", kind=WaitKind.LOADING, progress=0.4)
        assert wait is not None
        assert wait.activity == "loading weights 40%"
        maker.may_start.set()
        await until_told(redis, "j", kind=None)
        enough.set()
        await task


async def test_a_model_without_a_place_waits_for_memory(redis: Redis, maker: FakeMaker) -> None:
    first, second, enough = await taken(redis, "j1"), await taken(redis, "j2", model_id="b"), asyncio.Event()
    async with host(maker, cpu(1.5)) as models:
        tasks = [asyncio.create_task(hold(redis, models, first, enough))]
        while not models.serves(spec()):
            await settle()
        tasks.append(asyncio.create_task(hold(redis, models, second, enough)))
        wait = await until_told(redis, "j2", kind=WaitKind.WAITING)
        assert wait is not None
        assert await told(redis, "j1") is None
        enough.set()
        await asyncio.gather(*tasks)
        assert await told(redis, "j2") is None


async def test_a_job_whose_model_answers_tells_nothing(redis: Redis, maker: FakeMaker) -> None:
    job, enough = await taken(redis, "j"), asyncio.Event()
    enough.set()
    async with host(maker) as models:
        async with models.use(spec()):
            pass
        started = await redis.hget(keys.job("j"), "started")
        await hold(redis, models, job, enough)
        assert await redis.hmget(keys.job("j"), "waits", "started") == [None, started]


async def test_a_wait_that_passed_is_not_told_any_longer(
    redis: Redis, maker: FakeMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the model does not answer yet: nobody knows for what."""
    maker.may_start.clear()
    job, enough = await taken(redis, "j"), asyncio.Event()
    async with host(maker) as models:
        task = asyncio.create_task(hold(redis, models, job, enough))
        await until_told(redis, "j", kind=WaitKind.LOADING, progress=0.4)
        with monkeypatch.context() as patch:
            patch.setattr(models, "wait_for", lambda _: None)
            await until_told(redis, "j", kind=None)
        assert not models.serves(spec())
        maker.may_start.set()
        enough.set()
        await task
