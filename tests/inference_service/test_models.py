from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from inference_service.control import model_status
from inference_service.engines.engine import ChatCall, Connection
from inference_service.models import TRANSITIONS, Model, ModelState, backoff_seconds, open_models
from jan.errors import FailedPreconditionError, JanError, UnavailableError
from jan.inference.v1.jobs_pb2 import ModelSpec


class FakeEngine:
    """An engine whose start and end belong to the test."""

    slots = 2
    is_local = True
    warnings = ("Setting x is not used.",)

    def __init__(self, maker: FakeMaker, spec: ModelSpec) -> None:
        self._maker = maker
        self.spec = spec
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def start(self) -> Connection:
        self._maker.starts.append(self.spec.id)
        await self._maker.may_start.wait()
        if self._maker.error is not None:
            raise self._maker.error
        self._maker.running.add(self)
        return Connection("http://127.0.0.1:1/v1")

    async def stop(self) -> None:
        self._maker.running.discard(self)

    async def wait_exit(self) -> str:
        return await self.ended

    def chat_call(self, request: Mapping[str, Any]) -> ChatCall:
        return ChatCall(request, streams=True)


class FakeMaker:
    def __init__(self) -> None:
        self.starts: list[str] = []
        self.running: set[FakeEngine] = set()
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.error: JanError | None = None

    async def make(self, spec: ModelSpec) -> FakeEngine:
        return FakeEngine(self, spec)


@pytest.fixture
async def maker() -> FakeMaker:
    return FakeMaker()


def spec(model_id: str = "a", settings_json: str = "") -> ModelSpec:
    return ModelSpec(id=model_id, engine="fake", settings_json=settings_json)


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_loads_once_for_many(maker: FakeMaker) -> None:
    maker.may_start.clear()

    async def use() -> None:
        async with models.use(spec()):
            pass

    async with open_models(maker, most_loaded=1) as models:
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
    async with open_models(maker, most_loaded=1) as models:
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
    async with open_models(maker, most_loaded=1) as models:

        async def use() -> None:
            async with models.use(spec()):
                pass

        outcomes = await asyncio.gather(use(), use(), return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["The file is broken."] * 2
        assert maker.starts == ["a"]
        assert model_status(models.all()[0]).error.code == "model_file_invalid"
        maker.error = None
        await use()
        assert list(model_status(models.all()[0]).warnings) == ["Setting x is not used."]
        assert not model_status(models.all()[0]).HasField("error")


async def test_the_least_recently_used_idle_model_makes_room(maker: FakeMaker) -> None:
    now = 0.0
    async with open_models(maker, most_loaded=2, monotonic=lambda: now) as models:
        for now, model_id in enumerate(("a", "b", "a", "c"), start=1):  # noqa: B007  # the clock reads it
            async with models.use(spec(model_id)):
                pass
        assert {engine.spec.id for engine in maker.running} == {"a", "c"}


async def test_a_model_at_work_is_never_unloaded(maker: FakeMaker) -> None:
    async with open_models(maker, most_loaded=1) as models:

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
    async with open_models(maker, most_loaded=1) as models:

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


async def test_a_crash_is_an_error_state_and_the_next_job_starts_it_again(maker: FakeMaker) -> None:
    async with open_models(maker, most_loaded=1) as models:
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


async def test_closing_ends_what_is_still_starting(maker: FakeMaker) -> None:
    maker.may_start.clear()
    async with open_models(maker, most_loaded=1) as models:
        user = asyncio.ensure_future(models.use(spec()).__aenter__())
        await settle()
        user.cancel()
    assert not maker.running


def test_back_off_grows_to_a_bound() -> None:
    assert [backoff_seconds(failures) for failures in (0, 1, 2, 3, 100)] == [0.0, 0.25, 0.5, 1.0, 8.0]


def test_only_what_may_pass_by_itself_backs_off() -> None:
    model = Model("a")
    for error, failures in ((FailedPreconditionError("broken"), 0), (UnavailableError("crashed"), 1)):
        model.enter(ModelState.STARTING)
        model.fail(error)
        assert model.failures == failures


def test_every_state_can_be_left() -> None:
    assert set(TRANSITIONS) == set(ModelState)
    assert all(TRANSITIONS.values())
