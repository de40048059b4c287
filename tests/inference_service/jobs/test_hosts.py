"""Several engine hosts on one queue: what one cannot serve another does, and the one that has the model goes first."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from inference_service.devices.declared import DeclaredInventory
from inference_service.jobs.passing import PassedOn
from inference_service.models.model import ModelState
from jan import keys
from jan.errors import FailedPreconditionError
from jan.inference.v1.jobs_pb2 import ModelSpec
from jan.queue.follower import LogFollower
from jan.queue.hosts import Hosts
from jan.queue.scripts import Scripts
from tests.inference_service.bench import Bench, RunningWorker, Said, demo, launcher, remote
from tests.inference_service.memory.test_placement import cpu
from tests.inference_service.scripted_engine import ScriptedEngine

STANDING_STILL = "local function now_ms() return 1000 end\n"
TINY = DeclaredInventory((cpu(0.1),))


class StoppedClock:
    """Time that passes only when the test says so: no stall of the machine makes a living host look dead."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def runs_until(self, reading: Coroutine[Any, Any, Said], redis: Redis) -> Said:
        """Let time pass until a job has ended."""
        task = asyncio.create_task(reading)
        while not task.done():
            self.now += 0.05
            await redis.ping()
        return task.result()


@pytest.fixture
async def elsewhere(redis: Redis, tmp_path: Path, run_dir: Path) -> Bench:
    """A host without weights."""
    return Bench(redis, LogFollower(redis), launcher(tmp_path / "nothing", run_dir / "b"))


def state(worker: RunningWorker) -> ModelState | None:
    return next((model.state for model in worker.models.all()), None)


@pytest.mark.slow
async def test_what_one_host_cannot_load_another_answers(bench: Bench, elsewhere: Bench, redis: Redis) -> None:
    """The host without weights is idle and quick to take; every job is answered all the same."""
    async with elsewhere.worker() as without, bench.worker() as able:
        await bench.until_hosts(2)
        jobs = [await bench.submit(demo(), tenant=str(number)) for number in range(6)]
        assert [(await bench.read(job)).end for job in jobs] == ["completed"] * 6
        assert state(able) is ModelState.RUNNING
        assert state(without) in (None, ModelState.ERROR)


@pytest.mark.slow
async def test_a_host_without_memory_passes_on(bench: Bench, redis: Redis) -> None:
    async with bench.worker(inventory=TINY) as small:
        job = await bench.submit(demo())
        said = await bench.read(job)
        assert (said.end, said.error.code) == ("failed", "insufficient_memory")
        async with bench.worker() as large:
            await bench.until_hosts(2)
            assert (await bench.ask(demo())).end == "completed"
            assert state(large) is ModelState.RUNNING
        assert state(small) is ModelState.ERROR


async def test_what_no_host_can_load_is_refused_with_all_reasons(bench: Bench, elsewhere: Bench, redis: Redis) -> None:
    async with elsewhere.worker(host="attic"), bench.worker(host="cellar"):
        await bench.until_hosts(2)
        said = await bench.ask(ModelSpec(id="demo", engine="llamacpp", files=["other.gguf"]))
        assert (said.end, said.error.code) == ("failed", "model_file_missing")
        assert said.error.message == (
            "No engine host can serve model demo. "
            "attic: The file other.gguf of model demo is missing. Put it into the model's folder; where model.json "
            "names a URL for it, `janroot models pull demo` fetches it. "
            "cellar: The file other.gguf of model demo is missing. Put it into the model's folder; where model.json "
            "names a URL for it, `janroot models pull demo` fetches it."
        )


async def test_a_dead_host_is_not_waited_for_long(bench: Bench, elsewhere: Bench, redis: Redis) -> None:
    clock = StoppedClock()
    async with elsewhere.worker(lease_seconds=0.4, monotonic=clock):
        async with bench.worker(lease_seconds=0.4, monotonic=clock) as dying:
            await bench.until_hosts(2)
            await dying.vanish()
        said = await clock.runs_until(bench.ask(demo()), redis)
        assert (said.end, said.error.code) == ("failed", "model_file_missing")


@pytest.mark.slow
async def test_a_job_goes_to_the_host_that_has_its_model(redis: Redis, models_dir: Path, run_dir: Path) -> None:
    """Time stands still: on a machine that stutters a job may wait so long that any host is to take it."""
    scripts, clock = Scripts.register(redis, clock=STANDING_STILL), StoppedClock()
    follower = LogFollower(redis)
    bench, other = (Bench(redis, follower, launcher(models_dir, run_dir / name), scripts) for name in ("a", "b"))
    async with follower.running(), bench.worker(monotonic=clock) as first:
        assert (await bench.ask(demo())).end == "completed"
        async with other.worker(monotonic=clock) as second:
            await bench.until_hosts(2)
            for _ in range(5):
                assert (await bench.ask(demo())).end == "completed"
            assert state(first) is ModelState.RUNNING
            assert state(second) is None


def test_what_was_given_back_rests_and_is_not_tried_again_for_a_time() -> None:
    now = 100.0
    passed_on = PassedOn(lambda: now)
    error = FailedPreconditionError("No.", code="insufficient_memory")
    passed_on.note("j", "m", error)
    assert (passed_on.resting(), passed_on.why("j"), passed_on.why("k")) == ({"m"}, error, None)
    now = 102.0
    assert (passed_on.resting(), passed_on.why("j")) == (set(), error)
    passed_on.note("j", "m", error)  # given back again, but tried once only
    now = 110.0
    assert (passed_on.resting(), passed_on.why("j")) == (set(), None)
    for number in range(2_000):
        passed_on.note(str(number), "m", error)
    assert passed_on.why("1") is None
    assert passed_on.why("1999") is error


@pytest.mark.slow
async def test_what_another_host_loads_is_left_to_it(bench: Bench, redis: Redis, scripted: ScriptedEngine) -> None:
    other = Hosts(redis, Scripts.register(redis), "other")
    await other.beat((), ["demo"])
    clock = StoppedClock()
    async with bench.worker(lease_seconds=0.4, monotonic=clock) as worker:
        await bench.until_hosts(2)
        job = await bench.submit(demo())
        assert (await bench.ask(remote(scripted.url))).end == "completed"
        assert [model.id for model in worker.models.all()] == ["remote"]
        # The other host never beats again.
        assert (await clock.runs_until(bench.read(job), redis)).end == "completed"
        assert await redis.hlen(keys.HOSTS) == 1
