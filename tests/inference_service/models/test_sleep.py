"""Models that sleep: how they come to it, wake, and what becomes of them otherwise. The GPUs are declared."""

from __future__ import annotations

import asyncio

import pytest

from inference_service.devices.declared import DeclaredInventory
from inference_service.devices.device import DeviceKind
from inference_service.memory.residency import Policy
from inference_service.models.hosting import HostingSettings
from inference_service.models.model import ModelState, ModelStatus
from inference_service.models.pool import Models, open_models
from jan.errors import FailedPreconditionError, InternalError, UnavailableError
from tests.inference_service.fake_engine import FakeEngine, FakeMaker, host, settle, spec, status, until, use
from tests.inference_service.memory.test_placement import GIB, cpu, gpu

ON_GPU = (DeviceKind.GPU,)


@pytest.fixture
async def maker() -> FakeMaker:
    """Models of 10 GiB, of which one stays on the GPU while they sleep."""
    made = FakeMaker()
    made.sleeps, made.size_gib, made.overhead_gib, made.kinds = True, 10, 1, ON_GPU
    return made


def sleeps(models: Models, model_id: str = "a") -> bool:
    return status(models, model_id).activity == "sleeping"


def held(models: Models, device_id: str) -> int:
    """GiB that all models hold of a device."""
    shares = [share for found in models.residents() for share in found.placement.shares]
    return sum(share.size_bytes for share in shares if share.device.id == device_id) // GIB


async def lay_down(models: Models) -> None:
    """Have a sleep, because b wants its GPU."""
    await use(models, spec("a"))
    await use(models, spec("b"))
    await until(models, lambda: sleeps(models))


async def test_a_model_sleeps_wakes_for_a_job_and_rests_for_so_long_only(maker: FakeMaker) -> None:
    maker.hosting = HostingSettings(idle_seconds=0.05)
    async with host(maker, gpu(0, 16), cpu(16)) as models:
        with models.watching() as changes:
            told: list[ModelStatus] = []
            await use(models, spec())
            while not (told and told[-1].state is ModelState.READY and not told[-1].activity):
                change = await changes.get()
                assert change is not None
                told.append(change)
        words = [(found.state, found.activity) for found in told if found.activity != "loading weights"]
        assert words[-5:] == [
            (ModelState.STOPPING, ""),
            (ModelState.STOPPING, "falling asleep"),
            (ModelState.READY, "sleeping"),
            (ModelState.STOPPING, ""),
            (ModelState.READY, ""),
        ]
        assert not maker.running
        assert models.residents() == ()


async def test_two_models_swap_places_on_one_gpu(maker: FakeMaker) -> None:
    async with host(maker, gpu(0, 16), cpu(64)) as models:
        await lay_down(models)
        assert (held(models, "gpu-0"), held(models, "cpu")) == (11, 9)
        assert (status(models).state, status(models, "b").state) == (ModelState.READY, ModelState.RUNNING)
        for model_id in ("a", "b", "a"):
            async with models.use(spec(model_id)) as running:
                assert isinstance(running.engine, FakeEngine)
                assert (running.engine.spec.id, running.engine.asleep) == (model_id, False)
        assert maker.starts == ["a", "b"]
        assert (held(models, "gpu-0"), held(models, "cpu")) == (11, 9)
        assert models.running() == {"a", "b"}
    assert not maker.running


class LeftOnGpu(DeclaredInventory):
    """A driver that finds 3 GiB of each engine on its GPUs."""

    def measure(self, engine: int, kind: DeviceKind) -> int:
        return 3 * GIB if kind is DeviceKind.GPU else 0


async def test_what_is_left_on_the_gpu_is_what_the_driver_says(maker: FakeMaker) -> None:
    async with open_models(maker, LeftOnGpu((gpu(0, 16), cpu(64))), Policy(0, 60)) as models:
        await lay_down(models)
        assert (held(models, "gpu-0"), held(models, "cpu")) == (13, 9)
        maker.size_gib = 14  # beside 3 GiB there is no room for it
        await use(models, spec("c"))
        assert "a" not in {engine.spec.id for engine in maker.running}


async def test_without_the_ram_it_is_unloaded_as_ever(maker: FakeMaker) -> None:
    async with host(maker, gpu(0, 16), cpu(8)) as models:
        await use(models, spec("a"))
        await use(models, spec("b"))
        assert (sleeps(models), len(maker.running), held(models, "cpu")) == (False, 1, 0)
        await use(models, spec("a"))
        assert maker.starts == ["a", "b", "a"]


async def test_a_model_that_wants_the_ram_gets_it(maker: FakeMaker) -> None:
    async with host(maker, gpu(0, 16), cpu(16)) as models:
        await lay_down(models)
        maker.kinds = (DeviceKind.CPU,)
        await use(models, spec("c"))
        assert not sleeps(models)
        assert {engine.spec.id for engine in maker.running} == {"b", "c"}


async def test_one_whose_gpu_is_busy_is_loaded_on_another(maker: FakeMaker) -> None:
    maker.size_gib = 16
    async with host(maker, gpu(0, 17), gpu(1, 16), cpu(64)) as models:
        await use(models, spec("b"))  # on gpu-1, the fullest that does
        await use(models, spec("a"))
        maker.size_gib = 14
        async with models.use(spec("b")):
            await use(models, spec("c"))
            await until(models, lambda: sleeps(models))
        async with models.use(spec("c")):
            maker.size_gib = 16
            await models.stop("b")
            async with models.use(spec("a")) as running:
                assert isinstance(running.engine, FakeEngine)
                await settle()
                assert running.engine.placement is not None
                assert running.engine.placement.visible_devices == "1"
                assert (held(models, "cpu"), len(maker.running)) == (0, 2)
        assert maker.starts == ["b", "a", "c", "a"]


async def test_a_crash_in_its_sleep_costs_no_more_than_the_sleep(maker: FakeMaker) -> None:
    async with host(maker, gpu(0, 16), cpu(64)) as models:
        await lay_down(models)
        engine = next(engine for engine in maker.running if engine.asleep)
        engine.ended.set_result("The engine was killed.")
        await until(models, lambda: not sleeps(models))
        assert (status(models).state, held(models, "cpu")) == (ModelState.READY, 0)
        await use(models, spec("a"))
        assert maker.starts == ["a", "b", "a"]


@pytest.mark.parametrize("crashes", [False, True])
async def test_a_model_that_does_not_wake_is_loaded_anew_for_the_same_job(maker: FakeMaker, crashes: bool) -> None:
    async with host(maker, gpu(0, 16), cpu(64)) as models:
        await lay_down(models)
        if crashes:
            maker.may_turn.clear()
        else:
            maker.turn_error = UnavailableError("It does not wake.")
        job = asyncio.create_task(use(models, spec("a")))
        if crashes:
            await models.stop("b")
            await until(models, lambda: status(models).activity == "waking")
            next(engine for engine in maker.running if engine.asleep).ended.set_result("The engine was killed.")
            await settle()
            maker.may_turn.set()
        await job
        assert maker.starts == ["a", "b", "a"]
        assert status(models).state is ModelState.RUNNING
        assert held(models, "gpu-0") == 10


async def test_a_model_that_does_not_fall_asleep_is_unloaded(maker: FakeMaker) -> None:
    maker.turn_error = UnavailableError("It stays awake.")
    async with host(maker, gpu(0, 16), cpu(64)) as models:
        await use(models, spec("a"))
        await use(models, spec("b"))
        assert (status(models).state, status(models).activity) == (ModelState.READY, "")
        assert (len(maker.running), held(models, "gpu-0"), held(models, "cpu")) == (1, 10, 0)


async def test_a_job_that_comes_while_it_falls_asleep_wakes_it(maker: FakeMaker) -> None:
    maker.may_turn.clear()
    async with host(maker, gpu(0, 16), cpu(64)) as models:
        await use(models, spec("a"))
        other = asyncio.create_task(use(models, spec("b")))
        await until(models, lambda: status(models).activity == "falling asleep")
        assert held(models, "gpu-0") + held(models, "cpu") == 19
        job = asyncio.create_task(use(models, spec("a")))
        await settle()
        maker.may_turn.set()
        await asyncio.gather(other, job)
        assert maker.starts == ["a", "b"]


async def test_jobs_in_hand_never_sleep(maker: FakeMaker) -> None:
    async with host(maker, gpu(0, 16), cpu(64), patience=0) as models:
        async with models.use(spec("a")) as running:
            other = asyncio.create_task(use(models, spec("b")))
            await until(models, lambda: models.closed() == ["a"])
            await settle()
            assert isinstance(running.engine, FakeEngine)
            assert (running.engine.asleep, status(models).state) == (False, ModelState.RUNNING)
        await other
        assert sleeps(models)


@pytest.mark.parametrize("wakes", [False, True])
async def test_a_defect_leaves_nothing_behind_and_the_next_job_goes_through(maker: FakeMaker, wakes: bool) -> None:
    async with host(maker, gpu(0, 16), cpu(64)) as models:
        await use(models, spec("a"))
        if wakes:
            await use(models, spec("b"))
            await until(models, lambda: sleeps(models))
            await models.stop("b")
            maker.turn_error = RuntimeError("a defect")
            with pytest.raises(InternalError):
                await use(models, spec("a"))
        else:
            maker.turn_error = RuntimeError("a defect")
            await use(models, spec("b"))
            await models.stop("b")
        assert status(models).state is ModelState.ERROR
        assert (len(maker.running), models.residents()) == (0, ())
        await use(models, spec("a"))


async def test_stopping_ends_what_sleeps_falls_asleep_or_waits_to_wake(maker: FakeMaker) -> None:
    async with host(maker, gpu(0, 16), cpu(64)) as models:
        await lay_down(models)
        assert (await models.stop("a")).state is ModelState.READY
        assert (sleeps(models), len(maker.running)) == (False, 1)
        await models.stop("b")
        await lay_down(models)
        async with models.use(spec("b")):
            job = asyncio.create_task(use(models, spec("a")))
            await until(models, lambda: status(models).activity.startswith("waits for room"))
            await models.stop("a")
            with pytest.raises(FailedPreconditionError) as caught:
                await job
            assert caught.value.code == "model_stopped"
            assert {engine.spec.id for engine in maker.running} == {"b"}
        maker.may_turn.clear()
        job = asyncio.create_task(use(models, spec("a")))
        await until(models, lambda: status(models, "b").activity == "falling asleep")
        stopping = asyncio.create_task(models.stop("b"))
        await settle()
        maker.may_turn.set()
        assert (await stopping).state is ModelState.READY
        await job
        assert {engine.spec.id for engine in maker.running} == {"a"}


async def test_stopping_ends_what_is_waking(maker: FakeMaker) -> None:
    async with host(maker, gpu(0, 16), cpu(64)) as models:
        await lay_down(models)
        await models.stop("b")
        maker.may_turn.clear()
        job = asyncio.create_task(use(models, spec("a")))
        await until(models, lambda: status(models).activity == "waking")
        assert (held(models, "gpu-0"), held(models, "cpu")) == (10, 9)
        assert models.loading() == {"a"}
        assert (await models.stop("a")).state is ModelState.READY
        with pytest.raises(FailedPreconditionError):
            await job
        assert (len(maker.running), models.residents()) == (0, ())


async def test_other_settings_end_what_sleeps(maker: FakeMaker) -> None:
    async with host(maker, gpu(0, 16), cpu(64)) as models:
        await lay_down(models)
        await use(models, spec("a", settings_json='{"ctx_len": 5}'))
        assert maker.starts == ["a", "b", "a"]
        assert [engine.spec.settings_json for engine in maker.running if engine.spec.id == "a"] == ['{"ctx_len": 5}']


async def test_what_can_no_longer_be_loaded_does_not_go_on_sleeping(maker: FakeMaker) -> None:
    async with host(maker, gpu(0, 16), cpu(64)) as models:
        await lay_down(models)
        maker.size_gib = 20
        with pytest.raises(FailedPreconditionError, match="not enough memory"):
            await use(models, spec("a"))
        assert status(models).state is ModelState.ERROR
        assert {engine.spec.id for engine in maker.running} == {"b"}
