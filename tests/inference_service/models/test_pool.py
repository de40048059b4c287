from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

from inference_service.devices.declared import DeclaredInventory
from inference_service.devices.device import DeviceKind
from inference_service.memory.residency import Policy
from inference_service.models.hosting import HostingSettings
from inference_service.models.model import ModelState, ModelStatus
from inference_service.models.pool import open_models
from jan.errors import FailedPreconditionError
from tests.inference_service.fake_engine import FakeEngine, FakeMaker, host, settle, spec, status, until, use
from tests.inference_service.memory.test_placement import GIB, cpu, gpu


async def test_loads_once_for_many(maker: FakeMaker) -> None:
    maker.may_start.clear()

    async def use() -> None:
        async with models.use(spec()):
            pass

    async with host(maker, most_loaded=1) as models:
        users = [asyncio.create_task(use()) for _ in range(5)]
        await settle()
        assert models.all()[0].state is ModelState.STARTING
        assert models.slots("a") == 1
        maker.may_start.set()
        await asyncio.gather(*users)
        assert models.slots("a") == 2
        assert maker.starts == ["a"]
    assert not maker.running


async def test_a_load_outlives_the_job_that_asked_for_it(maker: FakeMaker) -> None:
    maker.may_start.clear()
    async with host(maker, most_loaded=1) as models:
        context = models.use(spec())
        user = asyncio.ensure_future(context.__aenter__())
        await settle()
        user.cancel()
        await settle()
        maker.may_start.set()
        async with models.use(spec()):
            assert maker.starts == ["a"]


async def test_all_who_wait_hear_why_it_failed_and_the_next_tries_again(maker: FakeMaker) -> None:
    maker.error = FailedPreconditionError("The file is broken.", code="model_file_invalid")
    async with host(maker, most_loaded=1) as models:
        outcomes = await asyncio.gather(use(models, spec()), use(models, spec()), return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["The file is broken."] * 2
        assert maker.starts == ["a"]
        error = models.all()[0].status.error
        assert error is not None
        assert error.code == "model_file_invalid"
        maker.error = None
        await use(models, spec())
        assert models.all()[0].status.warnings == ("Setting x is not used.",)
        assert models.all()[0].status.error is None


async def test_the_least_recently_used_idle_model_makes_room(maker: FakeMaker) -> None:
    now = 0.0
    async with host(maker, most_loaded=2, monotonic=lambda: now) as models:
        for now, model_id in enumerate(("a", "b", "a", "c"), start=1):  # noqa: B007  # the clock reads it
            async with models.use(spec(model_id)):
                pass
        assert {engine.spec.id for engine in maker.running} == {"a", "c"}


async def test_a_model_at_work_is_never_unloaded(maker: FakeMaker) -> None:
    async with host(maker, most_loaded=1) as models:

        async def use_b() -> None:
            async with models.use(spec("b")):
                pass

        async with models.use(spec("a")):
            waiting = asyncio.create_task(use_b())
            await settle()
            assert {engine.spec.id for engine in maker.running} == {"a"}
        await waiting
        assert {engine.spec.id for engine in maker.running} == {"b"}


async def test_other_settings_wait_for_the_last_job_and_reload(maker: FakeMaker) -> None:
    async with host(maker, most_loaded=1) as models:

        async def use_other() -> None:
            async with models.use(spec(settings_json='{"ctx_len": 5}')):
                pass

        async with models.use(spec(settings_json='{"n": 1, "m": 2}')):
            async with models.use(spec(settings_json='{"m": 2, "n": 1}')):
                assert maker.starts == ["a"]
            waiting = asyncio.create_task(use_other())
            await settle()
            assert maker.starts == ["a"]
        await waiting
        assert maker.starts == ["a", "a"]
        assert len(maker.running) == 1


async def test_a_threads_settings_wait_for_their_turn_in_a_line_of_their_own(maker: FakeMaker) -> None:
    own, other = spec(), spec(settings_json='{"ctx_len": 5}', configuration="5")
    async with host(maker, patience=0) as models:
        async with models.use(own):
            waiting = asyncio.create_task(use(models, other))
            await until(models, lambda: models.closed() == ["a"])
            assert (models.slots("a"), models.slots("a#5"), models.slots("a#6")) == (0, 1, 1)
            assert [told.state for told in models.statuses()] == ["running"]
            assert maker.starts == ["a"]
        await waiting
        assert [(engine.spec.settings_json, len(maker.running)) for engine in maker.running] == [('{"ctx_len": 5}', 1)]
        assert (models.slots("a"), models.slots("a#5")) == (1, 2)
        await use(models, other)
        assert maker.starts == ["a", "a"]
        await use(models, own)
        assert (maker.starts, len(maker.running)) == (["a"] * 3, 1)
        assert [(told.model_id, told.state) for told in models.statuses()] == [("a", "running")]
        assert (await models.stop("a")).state is ModelState.READY
        assert not maker.running


async def test_settings_that_threads_once_had_are_forgotten(maker: FakeMaker) -> None:
    async with host(maker) as models:
        for number in range(300):
            await use(models, spec(settings_json=f'{{"n": {number}}}', configuration=str(number)))
        assert len(models.all()) <= 257
        assert [told.model_id for told in models.statuses()] == ["a"]


async def test_a_watcher_hears_of_one_model_whatever_its_settings(maker: FakeMaker) -> None:
    async with host(maker) as models:
        await use(models, spec())
        with models.watching() as changes:
            await use(models, spec(configuration="1"))
            heard = [changes.get_nowait() for _ in range(changes.qsize())]
        told = [change for change in heard if change is not None]
        assert {change.model_id for change in told} == {"a"}
        assert (told[0].state, told[-1].state) == ("running", "running")
        assert "stopping" in {change.state for change in told}


async def test_a_crash_is_an_error_state_and_the_next_job_starts_it_again(maker: FakeMaker) -> None:
    async with host(maker, most_loaded=1) as models:
        async with models.use(spec()) as running:
            assert isinstance(running.engine, FakeEngine)
            running.engine.ended.set_result("The engine was killed.")
            await models.notice_crash(running)
        (model,) = models.all()
        assert model.state is ModelState.ERROR
        assert model.error is not None
        assert model.error.message == "The engine was killed."
        async with models.use(spec()) as running:
            running.succeeded()
        assert maker.starts == ["a", "a"]
        assert model.failures == 0


async def test_an_engine_that_says_it_is_dead_is_ended_once_and_the_next_job_starts_another(maker: FakeMaker) -> None:
    async with host(maker) as models:
        async with models.use(spec()) as running, models.use(spec()) as beside:
            await asyncio.gather(*(models.notice_crash(one, is_dead=True) for one in (running, beside)))
            assert not maker.running
        told = status(models)
        assert (told.state, told.error and told.error.code) == (ModelState.ERROR, "engine_crashed")
        assert models.all()[0].failures == 1
        await use(models, spec())
        assert maker.starts == ["a", "a"]


async def test_closing_ends_what_is_still_starting(maker: FakeMaker) -> None:
    maker.may_start.clear()
    async with host(maker, most_loaded=1) as models:
        user = asyncio.ensure_future(models.use(spec()).__aenter__())
        await settle()
        user.cancel()
    assert not maker.running


async def test_models_that_fit_side_by_side_stay_side_by_side(maker: FakeMaker) -> None:
    maker.size_gib = 4
    async with host(maker, cpu(8)) as models:
        for model_id in ("a", "b", "c"):
            await use(models, spec(model_id))
        assert {engine.spec.id for engine in maker.running} == {"b", "c"}
        assert [found.state for found in (status(models, "a"), status(models, "b"))] == ["ready", "running"]
        assert sum(share.size_bytes for r in models.residents() for share in r.placement.shares) == 8 * GIB


async def test_a_model_for_which_there_is_not_the_memory_says_how_much_is_missing(maker: FakeMaker) -> None:
    maker.size_gib = 20
    async with host(maker, cpu(8)) as models:
        with pytest.raises(FailedPreconditionError, match=r"it needs 20\.0 GiB .* cpu has 8\.0 GiB") as caught:
            await use(models, spec())
        assert caught.value.code == "insufficient_memory"
        assert status(models).state is ModelState.ERROR
        assert models.residents() == ()
        maker.size_gib = 2
        await use(models, spec())


async def test_a_model_at_work_is_closed_for_one_that_waited_long_enough(maker: FakeMaker) -> None:
    maker.size_gib = 5
    woken: list[None] = []
    async with host(maker, cpu(8), patience=0) as models:
        models.on_change(lambda: woken.append(None))
        async with models.use(spec("a")):
            waiting = asyncio.create_task(use(models, spec("b")))
            await until(models, lambda: models.closed() == ["a"])
            assert models.slots("a") == 0
            assert status(models, "a").activity.startswith("b has waited")
            latecomer = asyncio.create_task(use(models, spec("a")))
            await settle()
            assert not latecomer.done()
        await waiting
        woken.clear()
        await latecomer
        assert maker.starts == ["a", "b", "a"]
        assert models.closed() == []
        assert woken


async def test_an_idle_model_is_unloaded_after_its_time(maker: FakeMaker) -> None:
    maker.hosting = HostingSettings(idle_seconds=0.02)
    async with host(maker) as models:
        async with models.use(spec()):
            await asyncio.sleep(0.05)
            assert status(models).state is ModelState.RUNNING
        await until(models, lambda: status(models).state is ModelState.READY)
        assert not maker.running
        await use(models, spec())


async def test_a_busy_model_gets_one_more_copy_on_a_free_gpu(maker: FakeMaker) -> None:
    maker.size_gib = 10
    async with host(maker, gpu(0, 16), gpu(1, 16), gpu(2, 16)) as models:
        maker.hosting = HostingSettings(replicas=2)
        async with contextlib.AsyncExitStack() as jobs:
            first = [await jobs.enter_async_context(models.use(spec())) for _ in range(2)]
            await until(models, lambda: models.slots("a") == 4)
            second = [await jobs.enter_async_context(models.use(spec())) for _ in range(2)]
            assert first[0].engine is first[1].engine
            assert second[0].engine is second[1].engine is not first[0].engine
            places = [placement.visible_devices for placement in status(models).placements]
            assert places == ["0", "1"]
            await settle()
            assert len(maker.running) == 2
            assert isinstance(second[0].engine, FakeEngine)
            second[0].engine.ended.set_result("The engine was killed.")
            await models.notice_crash(second[0])
            assert status(models).state is ModelState.RUNNING
        assert len(maker.running) <= 2


async def test_a_watcher_hears_of_each_change_with_progress(maker: FakeMaker) -> None:
    maker.may_start.clear()
    async with host(maker) as models:
        with models.watching() as changes:
            starting = asyncio.create_task(models.start(spec()))
            heard: list[ModelStatus] = []
            while not heard or heard[-1].progress is None:
                change = await changes.get()
                assert change is not None
                heard.append(change)
            assert [found.state for found in heard] == ["starting"] * len(heard)
            assert (heard[-1].activity, heard[-1].progress) == ("loading weights 40%", 0.4)
            maker.may_start.set()
            await starting
            change = await changes.get()
            assert change is not None
            assert (change.state, change.progress, change.activity) == ("running", None, "")
            models.dismiss_watchers()
            assert await changes.get() is None


class SlowInventory(DeclaredInventory):
    """A look at an engine's memory that takes until the test has seen it unloaded."""

    def measure(self, engine: int, kind: DeviceKind) -> int:
        measuring.wait(timeout=10)
        return 7


measuring = threading.Event()


async def test_a_model_may_be_unloaded_while_it_is_measured(maker: FakeMaker) -> None:
    measuring.clear()
    async with open_models(maker, SlowInventory((cpu(8),)), Policy(0, 60)) as models:
        await models.start(spec())
        stopping = asyncio.create_task(models.stop("a"))
        await settle()
        assert status(models).state is ModelState.STOPPING
        measuring.set()
        await stopping
        await models.start(spec())
    assert maker.learnt == [7, 7]
