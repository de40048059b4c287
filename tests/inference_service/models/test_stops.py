"""Models that are started and stopped by hand: whoever waits is answered, and no memory is given twice."""

from __future__ import annotations

import asyncio

import pytest

from inference_service.memory.placement import Placement
from inference_service.models.model import ModelState
from inference_service.models.pool import Models
from jan.errors import FailedPreconditionError, JanError
from jan.inference.v1.jobs_pb2 import ModelSpec
from tests.inference_service.fake_engine import FakeEngine, FakeMaker, host, settle, spec, use


async def test_stopping_waits_for_answers_and_a_job_starts_it_again(maker: FakeMaker) -> None:
    async with host(maker) as models:
        async with models.use(spec()):
            stopping = asyncio.create_task(models.stop("a"))
            await settle()
            assert len(maker.running) == 1
        assert (await stopping).state is ModelState.READY
        assert not maker.running
        assert (await models.stop("a")).state is ModelState.READY
        await use(models, spec())


async def test_stopping_breaks_off_a_load_and_fails_those_who_wait_for_it(maker: FakeMaker) -> None:
    maker.may_start.clear()
    async with host(maker) as models:
        waiting = asyncio.create_task(use(models, spec()))
        await settle()
        assert (await models.stop("a")).state is ModelState.READY
        with pytest.raises(FailedPreconditionError) as caught:
            await waiting
        assert caught.value.code == "model_stopped"
        assert models.residents() == ()
        maker.may_start.set()
        assert (await models.start(spec())).state is ModelState.RUNNING


async def outcome(models: Models) -> str:
    try:
        await use(models, spec())
    except JanError as error:
        return error.code
    return "served"


async def test_a_stop_in_the_moment_in_which_a_load_begins(maker: FakeMaker) -> None:
    """A change that is broken off before the first step of its task is over like any other."""
    async with host(maker) as models:
        async with models.use(spec()):
            stops = [asyncio.create_task(models.stop("a"))]
            await settle()
            job = asyncio.create_task(outcome(models))  # both wake when the unload ends: the job begins to load,
            await settle()
            stops.append(asyncio.create_task(models.stop("a")))  # and this breaks that off
            await settle()
        told = await asyncio.gather(*stops)
        assert [status.state for status in told] == [ModelState.READY] * 2
        assert await job == "model_stopped"
        assert maker.starts == ["a"]
        assert await outcome(models) == "served"


async def test_a_load_that_is_stopped_twice_holds_its_memory_until_its_engine_has_ended() -> None:
    made, may_end = asyncio.Event(), asyncio.Event()

    class SlowEngine(FakeEngine):
        async def stop(self) -> None:
            await may_end.wait()
            await super().stop()

    class SlowMaker(FakeMaker):
        async def make(self, spec: ModelSpec, placement: Placement | None, copy: int) -> FakeEngine:
            engine = SlowEngine(self, spec, placement)
            self.running.add(engine)
            made.set()
            return engine

    maker = SlowMaker()
    maker.may_start.clear()
    async with host(maker) as models:
        await models.start_soon(spec())
        await made.wait()
        stops = []
        for _ in range(3):
            stops.append(asyncio.create_task(models.stop("a")))
            await settle()
        assert len(models.residents()) == len(maker.running) == 1
        may_end.set()
        await asyncio.gather(*stops)
        assert models.residents() == ()
        assert not maker.running


async def test_starting_may_be_waited_for_or_not(maker: FakeMaker) -> None:
    maker.may_start.clear()
    async with host(maker) as models:
        assert (await models.start_soon(spec())).state is ModelState.STARTING
        assert (await models.start_soon(spec())).state is ModelState.STARTING
        maker.may_start.set()
        assert (await models.start(spec())).state is ModelState.RUNNING
        assert maker.starts == ["a"]
        maker.error = FailedPreconditionError("The file is broken.")
        assert (await models.start_soon(spec("b"))).state in (ModelState.STARTING, ModelState.ERROR)
        with pytest.raises(FailedPreconditionError):
            await models.start(spec("b"))
