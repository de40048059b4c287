from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from inference_service.engines.client import EngineClient
from inference_service.engines.llamacpp import LlamaCppEngine, busy_slots
from inference_service.engines.stuck import Look, StuckWatch, Verdicts, cpu_seconds_of
from inference_service.engines.traffic import Traffic
from jan.errors import InternalError
from tests.inference_service.engines.asking import MESSAGES, whole
from tests.inference_service.engines.test_llamacpp import make_engine

BURNS_WHEN_ASKED = (
    "{% for message in messages %}{% if 'boom' in message.content %}{% for i in range(1000000000) %}{% endfor %}"
    "{% endif %}{{ message.content }}{% endfor %}"
)
BOOM = [{"role": "user", "content": "boom"}]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def looks(verdicts: Verdicts, clock: Clock, seconds: int, busy: int | None, cpu_share: float = 0.0) -> list[str]:
    """What is said of an engine that is looked at every five seconds."""
    said = []
    for _ in range(0, seconds, 5):
        clock.now += 5
        said.append(verdicts.note(Look(clock.now, busy, clock.now * cpu_share)))
    return said


def test_a_question_without_a_slot_is_a_reason() -> None:
    clock = Clock()
    traffic = Traffic(clock)
    verdicts = Verdicts(traffic, slots=2)
    with traffic.asking() as question:
        assert not any(looks(verdicts, clock, 115, busy=0))
        assert looks(verdicts, clock, 10, busy=0)[-1] == "it does not come to an end with a question"
        assert traffic.silent_for(60) == [question]


def test_a_question_that_is_worked_on_or_waits_for_a_slot_is_none() -> None:
    clock = Clock()
    traffic = Traffic(clock)
    verdicts = Verdicts(traffic, slots=1)
    with traffic.asking(), traffic.asking():
        assert not any(looks(verdicts, clock, 1_000, busy=1, cpu_share=4))


def test_one_that_came_to_a_slot_in_between_begins_anew() -> None:
    clock = Clock()
    traffic = Traffic(clock)
    verdicts = Verdicts(traffic, slots=1)
    with traffic.asking():
        for _ in range(5):
            assert not any(looks(verdicts, clock, 55, busy=0))
            assert not any(looks(verdicts, clock, 5, busy=1))


def test_an_answer_that_comes_is_no_reason() -> None:
    clock = Clock()
    traffic = Traffic(clock)
    verdicts = Verdicts(traffic, slots=2)
    with traffic.asking() as question:
        question.answered = True
        assert not any(looks(verdicts, clock, 1_000, busy=0))


def test_computing_for_nobody_is_a_reason_and_being_idle_none() -> None:
    clock = Clock()
    verdicts = Verdicts(Traffic(clock), slots=2)
    assert not any(looks(verdicts, clock, 1_000, busy=0, cpu_share=0.02))
    assert not any(looks(verdicts, clock, 1_000, busy=1, cpu_share=4))
    verdicts = Verdicts(Traffic(clock), slots=2)
    assert looks(verdicts, clock, 70, busy=0, cpu_share=0.2)[-1] == "it computes although nobody asks"


def test_silence_is_a_reason_after_long() -> None:
    clock = Clock()
    verdicts = Verdicts(Traffic(clock), slots=2)
    assert not any(looks(verdicts, clock, 600, busy=None, cpu_share=1))
    assert looks(verdicts, clock, 10, busy=None)[-1] == "it says nothing of itself"
    assert looks(verdicts, clock, 5, busy=0) == [""]


@pytest.fixture
async def engine(demo_gguf: Path, run_dir: Path) -> AsyncIterator[LlamaCppEngine]:
    engine = make_engine(demo_gguf, run_dir, prompt_template=BURNS_WHEN_ASKED)
    await engine.start()
    yield engine
    await engine.stop()


async def until_ended(engine: LlamaCppEngine, client: EngineClient) -> str:
    """What the engine's own watch does, in less time."""
    verdicts = Verdicts(engine._connection.traffic, engine.slots, idle_seconds=0.5)
    watch = StuckWatch(verdicts, partial(busy_slots, client), look_seconds=0.1)
    return await watch.wait_exit(engine._process)


@pytest.mark.engine
async def test_an_engine_that_hangs_on_a_question_is_ended_and_the_question_fails(engine: LlamaCppEngine) -> None:
    async with EngineClient(engine._connection) as client:
        assert await whole(engine, client, {"messages": MESSAGES, "max_tokens": 1})
        ended = asyncio.create_task(until_ended(engine, client))
        with pytest.raises(InternalError, match="did not come to an end with this request") as caught:
            await whole(engine, client, {"messages": BOOM, "max_tokens": 1})
        assert caught.value.code == "engine_stuck"
        assert await ended == "The engine did not come to an end with a request, and was ended."


@pytest.mark.engine
async def test_an_engine_that_goes_on_for_somebody_who_left_is_ended(engine: LlamaCppEngine) -> None:
    async with EngineClient(engine._connection) as client:
        asking = asyncio.create_task(whole(engine, client, {"messages": BOOM, "max_tokens": 1}))
        assert engine.pid is not None
        before = await asyncio.to_thread(cpu_seconds_of, engine.pid)
        while await asyncio.to_thread(cpu_seconds_of, engine.pid) < before + 0.1:
            assert not asking.done()
        asking.cancel()
        await asyncio.wait({asking})
        assert await until_ended(engine, client) == "The engine did not come to an end with a request, and was ended."


@pytest.mark.engine
async def test_an_engine_that_is_killed_is_not_called_stuck(engine: LlamaCppEngine) -> None:
    async with EngineClient(engine._connection) as client:
        ended = asyncio.create_task(until_ended(engine, client))
        await asyncio.sleep(0)
        engine._process.kill()
        assert (await ended).startswith("The engine was killed (SIGKILL")
