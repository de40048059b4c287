"""The worker over a real llama.cpp: loading, slots, kills, changed settings."""

from __future__ import annotations

import os
import signal

import pytest

from inference_service.engines.client import EngineClient
from inference_service.engines.llamacpp import LlamaCppEngine
from jan.queue.jobs import MAX_LOST_WORKERS
from jan.queue.records import dead_letters
from tests.inference_service.bench import Bench, RunningWorker, demo


@pytest.mark.engine
async def test_llamacpp_loads_for_its_first_job_and_frees_a_cancelled_slot(bench: Bench) -> None:
    async with bench.worker() as worker:
        job = await bench.submit(demo(), {"max_tokens": 900, "temperature": 0})
        await bench.read(job, chunks=3)
        (model,) = worker.models.all()
        (copy,) = model.running
        assert copy.client is not None
        assert await busy_slots(copy.client) == 1
        await bench.queue.cancel(job)
        while await busy_slots(copy.client):
            pass
        assert (await bench.read(job)).end == "cancelled"


@pytest.mark.engine
async def test_a_killed_llamacpp_is_started_by_the_next_job(bench: Bench) -> None:
    request = {"max_tokens": 900, "temperature": 0, "response_format": {"type": "json_object"}}
    async with bench.worker() as worker:
        begun = await bench.submit(demo(), request)
        await bench.read(begun, chunks=3)
        kill_engine(worker)
        said = await bench.read(begun)
        assert (said.end, said.error.code) == ("failed", "worker_lost")
        (model,) = worker.models.all()
        assert model.error is not None
        assert "SIGKILL" in model.error.message
        assert (await bench.ask(demo(), {"temperature": 0})).end == "completed"
        assert model.error is None


@pytest.mark.engine
async def test_a_job_that_kills_its_engine_three_times_is_a_dead_letter(bench: Bench) -> None:
    """The worker lives, and serves others in between; an admin may give the job another chance."""
    async with bench.worker() as worker:
        job = await bench.submit(demo(), {"max_tokens": 900, "temperature": 0})
        chunks = 0
        for _ in range(MAX_LOST_WORKERS):
            chunks = len((await bench.read(job, chunks=chunks + 3)).chunks)
            kill_engine(worker)
        said = await bench.read(job)
        assert (said.end, said.error.code) == ("failed", "poison")
        assert (await bench.ask(demo(), {"temperature": 0})).end == "completed"
        assert await dead_letters(bench.redis) == [job]
        assert await bench.queue.requeue(job)
        assert await dead_letters(bench.redis) == []
        await bench.read(job, chunks=1)
        await bench.queue.cancel(job)
        assert (await bench.read(job)).end == "cancelled"


@pytest.mark.engine
async def test_changed_settings_reload_the_model_when_it_is_idle(bench: Bench) -> None:
    async with bench.worker() as worker:
        running = await bench.submit(demo(), {"max_tokens": 60, "temperature": 0})
        await bench.read(running, chunks=2)
        other = await bench.submit(demo(n_parallel=3), {"temperature": 0})
        assert (await bench.read(running)).end == "completed"
        assert (await bench.read(other)).end == "completed"
        (model,) = worker.models.all()
        assert model.slots == 3


@pytest.mark.engine
async def test_an_answer_of_a_killed_llamacpp_goes_on(bench: Bench) -> None:
    """In one piece, of the length that was asked for.

    Not always in the words it would have had: what was said is computed in one go then, not token by token, and the
    difference in the last bits decides where two words are about as likely.
    """
    request = {"max_tokens": 40, "temperature": 0, "stream_options": {"include_usage": True}}
    async with bench.worker() as worker:
        uninterrupted = await bench.ask(demo(), request)
        for chunks in (2, 12, 30):
            job = await bench.submit(demo(), request)
            before = (await bench.read(job, chunks=chunks)).text
            kill_engine(worker)
            said = await bench.read(job)
            assert said.text.startswith(before)
            assert not said.text[len(before) :].lstrip().startswith(before.lstrip())
            assert said.end == "completed"
            completed, wanted = said.events[-1].completed, uninterrupted.events[-1].completed
            assert (completed.finish_reason, completed.usage.prompt_tokens, completed.usage.completion_tokens) == (
                *(wanted.finish_reason, wanted.usage.prompt_tokens, wanted.usage.completion_tokens),
            )


async def busy_slots(client: EngineClient) -> int:
    return sum(slot["is_processing"] for slot in await client.get_json("/slots"))


def kill_engine(worker: RunningWorker) -> None:
    (model,) = worker.models.all()
    (copy,) = model.running
    assert isinstance(copy.engine, LlamaCppEngine)
    assert copy.engine.pid is not None
    os.kill(copy.engine.pid, signal.SIGKILL)
