"""A defect of ours in any task beside the models: its model says so, it is logged, and everything else goes on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Collection

import pytest

from inference_service.devices.declared import DeclaredInventory
from inference_service.devices.device import Device, DeviceKind
from inference_service.jobs import worker
from inference_service.jobs.job import JobState
from inference_service.jobs.relay import Relay
from inference_service.memory.placement import Demand, Placement
from inference_service.memory.residency import Policy
from inference_service.models.model import Model, ModelState
from inference_service.models.pool import Models, open_models
from jan.errors import InternalError, UnavailableError
from jan.inference.v1.jobs_pb2 import ModelSpec
from tests.inference_service.bench import Bench, remote
from tests.inference_service.fake_engine import FakeEngine, FakeMaker, settle, spec, status, until, use
from tests.inference_service.memory.test_placement import cpu, gpu
from tests.inference_service.scripted_engine import ScriptedEngine


class DefectError(Exception):
    """What nobody foresaw."""


class Defects:
    """Where the host breaks, and how often still."""

    def __init__(self) -> None:
        self._left: dict[str, int] = {}
        self._found = threading.Event()  # some places are in threads

    def plant(self, place: str, times: int = 1) -> None:
        self._left[place] = times
        self._found.clear()

    def step_on(self, place: str) -> None:
        if self._left.get(place, 0):
            self._left[place] -= 1
            if not any(self._left.values()):
                self._found.set()
            raise DefectError(place)

    async def all_found(self) -> None:
        """Wait until the service has met all of them."""
        assert await asyncio.to_thread(self._found.wait, 10)
        await settle()


class BrokenEngine(FakeEngine):
    def __init__(self, defects: Defects, maker: FakeMaker, spec: ModelSpec, placement: Placement | None) -> None:
        super().__init__(maker, spec, placement)
        self._defects = defects

    def progress(self) -> float:
        self._defects.step_on("progress")
        return 0.4

    async def wait_exit(self) -> str:
        how = await super().wait_exit()
        self._defects.step_on("wait_exit")
        return how

    async def stop(self) -> None:
        await super().stop()
        self._defects.step_on("stop")


class BrokenMaker(FakeMaker):
    def __init__(self, defects: Defects) -> None:
        super().__init__()
        self._defects = defects
        self.made: list[BrokenEngine] = []

    async def make(self, spec: ModelSpec, placement: Placement | None, copy: int) -> FakeEngine:
        self._defects.step_on("make" if not self.made else "make another")
        engine = BrokenEngine(self._defects, self, spec, placement)
        self.made.append(engine)
        return engine

    async def learn(self, demand: Demand, measured_bytes: int, devices: int) -> None:
        self._defects.step_on("learn")
        await super().learn(demand, measured_bytes, devices)


class BrokenInventory(DeclaredInventory):
    defects: Defects

    def devices(self, own: Collection[int]) -> tuple[Device, ...]:
        self.defects.step_on("devices")
        return super().devices(own)

    def measure(self, engine: int, kind: DeviceKind) -> int:
        self.defects.step_on("measure")
        return 7


@pytest.fixture
def defects() -> Defects:
    return Defects()


@pytest.fixture
async def maker(defects: Defects) -> BrokenMaker:
    return BrokenMaker(defects)


def broken_host(
    maker: BrokenMaker, defects: Defects, *devices: Device
) -> contextlib.AbstractAsyncContextManager[Models]:
    class Inventory(BrokenInventory):
        pass

    Inventory.defects = defects
    return open_models(maker, Inventory(devices or (cpu(8),)), Policy(0, 60))


def assert_logged(caplog: pytest.LogCaptureFixture, place: str) -> None:
    logged = caplog.text
    assert "Traceback" in logged
    assert f"DefectError: {place}" in logged


async def test_a_load(maker: BrokenMaker, defects: Defects, caplog: pytest.LogCaptureFixture) -> None:
    defects.plant("make")
    async with broken_host(maker, defects) as models:
        with pytest.raises(InternalError, match="Model a could not be loaded: the server failed"):
            await use(models, spec())
        assert status(models).state is ModelState.ERROR
        assert models.residents() == ()
        await use(models, spec())
        assert status(models).state is ModelState.RUNNING
    assert_logged(caplog, "make")


async def test_an_unload(maker: BrokenMaker, defects: Defects, caplog: pytest.LogCaptureFixture) -> None:
    async with broken_host(maker, defects) as models:
        await use(models, spec())
        defects.plant("stop")
        assert (await models.stop("a")).state is ModelState.ERROR
        error = status(models).error
        assert error is not None
        assert error.message == "Model a could not be unloaded: the server failed."
        await use(models, spec())
        assert status(models).state is ModelState.RUNNING
    assert_logged(caplog, "stop")


async def test_the_end_of_the_service(maker: BrokenMaker, defects: Defects) -> None:
    async with broken_host(maker, defects) as models:
        await use(models, spec("a"))
        await use(models, spec("b"))
        defects.plant("stop")
    assert not maker.running


async def test_a_reload_fails_those_who_wait_for_it(maker: BrokenMaker, defects: Defects) -> None:
    async with broken_host(maker, defects) as models:
        await use(models, spec())
        defects.plant("stop")
        with pytest.raises(InternalError, match="could not be loaded"):
            await use(models, spec(settings_json='{"ctx_len": 5}'))
        await use(models, spec(settings_json='{"ctx_len": 5}'))


@pytest.mark.parametrize("place", ["wait_exit", "stop"])
async def test_the_watch_over_an_engine(
    maker: BrokenMaker, defects: Defects, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    async with broken_host(maker, defects) as models:
        await use(models, spec())
        defects.plant(place)
        maker.made[0].ended.set_result("The engine was killed.")
        await until(models, lambda: status(models).state is ModelState.ERROR)
        assert not maker.running
        await defects.all_found()
        await use(models, spec())
        assert status(models).state is ModelState.RUNNING
    assert_logged(caplog, place)


@pytest.mark.parametrize("place", ["measure", "learn"])
async def test_the_measuring_of_an_engine_costs_its_figures_only(
    maker: BrokenMaker, defects: Defects, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    defects.plant(place)
    async with broken_host(maker, defects) as models:
        await use(models, spec())
        await defects.all_found()
        assert status(models).state is ModelState.RUNNING
        await models.stop("a")
        await use(models, spec())
    assert_logged(caplog, place)


async def test_the_report_of_progress_costs_the_progress_only(
    maker: BrokenMaker, defects: Defects, caplog: pytest.LogCaptureFixture
) -> None:
    maker.may_start.clear()
    defects.plant("progress")
    async with broken_host(maker, defects) as models:
        await models.start_soon(spec())
        await defects.all_found()
        maker.may_start.set()
        await use(models, spec())
        assert status(models).state is ModelState.RUNNING
    assert_logged(caplog, "progress")


async def test_one_more_copy(maker: BrokenMaker, defects: Defects, caplog: pytest.LogCaptureFixture) -> None:
    defects.plant("make another")
    async with broken_host(maker, defects, gpu(0, 16), gpu(1, 16)) as models:
        async with models.use(spec()), models.use(spec()):
            await defects.all_found()
            assert status(models).state is ModelState.RUNNING
        assert len(models.residents()) == 1
        await use(models, spec())
    assert_logged(caplog, "make another")


async def test_the_unload_of_one_copy(maker: BrokenMaker, defects: Defects, caplog: pytest.LogCaptureFixture) -> None:
    maker.size_gib = 10
    async with broken_host(maker, defects, gpu(0, 16), gpu(1, 16)) as models:
        async with models.use(spec()), models.use(spec()):
            await until(models, lambda: models.slots("a") == 4)
        defects.plant("stop")
        await use(models, spec("b"))
        assert status(models, "b").state is ModelState.RUNNING
        await defects.all_found()
        assert status(models, "a").state is ModelState.RUNNING
        await use(models, spec("a"))
    assert_logged(caplog, "stop")


async def test_a_turn_of_the_placement_is_done_again(
    maker: BrokenMaker, defects: Defects, caplog: pytest.LogCaptureFixture
) -> None:
    defects.plant("devices", 2)
    async with broken_host(maker, defects) as models:
        await use(models, spec())
        assert status(models).state is ModelState.RUNNING
    assert_logged(caplog, "devices")


async def test_a_placement_that_goes_on_failing_tells_those_who_wait(maker: BrokenMaker, defects: Defects) -> None:
    defects.plant("devices", 1_000)
    async with broken_host(maker, defects) as models:
        with pytest.raises(InternalError, match="The server failed while it looked for room for model a"):
            await use(models, spec())
        assert status(models).state is ModelState.ERROR
        defects.plant("devices", 0)
        await use(models, spec())
        assert status(models).state is ModelState.RUNNING


async def test_a_start_that_nobody_waits_for(maker: BrokenMaker, defects: Defects) -> None:
    defects.plant("make")
    async with broken_host(maker, defects) as models:
        await models.start_soon(spec())
        await models.start_soon(spec())
        await until(models, lambda: status(models).state is ModelState.ERROR)
        await use(models, spec())


def test_a_running_model_whose_last_copies_go_one_by_one_is_at_rest() -> None:
    """One copy crashes while the other is unloaded: the next job finds a model that can be loaded."""
    model = Model("a")
    one, other = model.new_copy(None), model.new_copy(None)
    model.enter(ModelState.STARTING)
    model.enter(ModelState.RUNNING)
    model.lose(one, UnavailableError("The engine was killed."))
    states = [model.state]
    model.drop(other)
    states.append(model.state)
    assert states == [ModelState.RUNNING, ModelState.READY]


async def test_a_job_that_breaks_its_worker_costs_itself_an_attempt_and_the_others_nothing(
    bench: Bench, scripted: ScriptedEngine, defects: Defects, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BrokenRelay(Relay):
        async def run(self) -> JobState:
            defects.step_on("relay")
            return await super().run()

    monkeypatch.setattr(worker, "Relay", BrokenRelay)
    defects.plant("relay")
    async with bench.worker(lease_seconds=0.4):
        jobs = [await bench.submit(remote(scripted.url)) for _ in range(2)]
        assert [(await bench.read(job)).end for job in jobs] == ["completed"] * 2
