from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from redis.exceptions import RedisError

import inference_service.jobs.worker
from inference_service.models.model import ModelState
from jan import keys
from jan.inference.v1 import jobs_pb2
from jan.inference.v1.jobs_pb2 import ModelSpec
from jan.queue.bell import Bell, Signal, SignalKind
from jan.queue.jobs import CancelOutcome, JobQueue, TakenJob, queue_name
from jan.queue.leases import Lease, LeaseKind, LeaseState
from jan.queue.scripts import Scripts
from jan.type.v1.usage_pb2 import Usage
from tests.inference_service.bench import Bench, remote
from tests.inference_service.scripted_engine import ScriptedEngine
from tests.inference_service.scripted_words import text

ENDLESS = {"max_tokens": 1_000_000}


async def test_streams_a_job(bench: Bench, scripted: ScriptedEngine) -> None:
    async with bench.worker():
        said = await bench.ask(remote(scripted.url), {"stream_options": {"include_usage": True}})
    assert said.text == text(5)
    assert said.chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert said.chunks[-1]["usage"]["completion_tokens"] == 5
    assert {(c["id"], c["created"], c["model"]) for c in said.chunks} == {("chatcmpl-1", 1_700_000_000, "remote")}
    assert said.end == "completed"
    assert said.events[-1].completed.finish_reason == "length"
    assert said.events[-1].completed.usage.completion_tokens == 5


async def test_answers_a_job_whole(bench: Bench, scripted: ScriptedEngine) -> None:
    async with bench.worker():
        said = await bench.ask(remote(scripted.url), stream=False)
    assert [event.WhichOneof("event") for event in said.events] == ["chunk", "completed"]
    assert said.chunks[0]["choices"][0]["message"]["content"] == text(5)


async def test_the_first_token_does_not_wait_for_the_second(bench: Bench, scripted: ScriptedEngine) -> None:
    scripted.hold(after_tokens=1)
    async with bench.worker():
        job = await bench.submit(remote(scripted.url))
        assert (await bench.read(job, chunks=2)).text == text(1)
        scripted.let_go()
        assert (await bench.read(job)).text == text(5)


async def test_takes_no_more_jobs_than_the_model_has_slots(bench: Bench, scripted: ScriptedEngine) -> None:
    scripted.hold()
    spec = remote(scripted.url, n_parallel=2)
    jobs = [await bench.submit(spec) for _ in range(3)]
    async with bench.worker():
        await scripted.until_active(2)
        assert await bench.redis.zcard(keys.line("2:remote", "ann")) == 1
        scripted.let_go()
        assert [(await bench.read(job)).end for job in jobs] == ["completed"] * 3


@pytest.mark.parametrize("stream", [True, False])
async def test_a_cancelled_job_leaves_the_engine(bench: Bench, scripted: ScriptedEngine, stream: bool) -> None:
    scripted.hold(after_tokens=2)
    async with bench.worker():
        job = await bench.submit(remote(scripted.url), ENDLESS, stream=stream)
        await scripted.until_active(1)
        assert await bench.queue.cancel(job) is CancelOutcome.CANCELLING
        await scripted.until_active(0)
        assert (await bench.read(job)).end == "cancelled"


@pytest.mark.parametrize("forgotten", ["signals", "everything"])
async def test_a_cancelled_job_leaves_the_engine_though_the_clock_of_redis_went_back(
    bench: Bench, scripted: ScriptedEngine, forgotten: str
) -> None:
    """The bell is rung at a place before those that the worker has heard, and no renewal comes to tell of it."""
    scripted.hold(after_tokens=2)
    async with bench.worker(lease_seconds=4000):
        job = await bench.submit(remote(scripted.url), ENDLESS)
        await scripted.until_active(1)
        await bench.redis.xadd(keys.BELL, {SignalKind.SUBMITTED: "ahead"}, id="10000000000000-0")
        await (bench.redis.flushall() if forgotten == "everything" else bench.redis.delete(keys.BELL))
        await bench.queue.cancel(job, may_come=True)
        await scripted.until_active(0)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_cancelled_job_is_charged_for_its_prompt_and_what_the_engine_said(
    bench: Bench, scripted: ScriptedEngine, stream: bool
) -> None:
    scripted.hold(after_tokens=2)
    async with bench.worker():
        job = await bench.submit(
            remote(scripted.url), ENDLESS, stream=stream, cost_tokens=1_000_000, prompt_tokens=5000
        )
        await scripted.until_active(1)
        await bench.queue.cancel(job)
        said = await bench.read(job)
        assert said.end == "cancelled"
    used = said.events[-1].cancelled.usage
    assert used.prompt_tokens == 5000
    assert await charged(bench, "remote") == 5000 + used.completion_tokens < 5010


async def test_a_job_that_is_handed_back_and_cancelled_is_charged_for_its_prompt(
    bench: Bench, scripted: ScriptedEngine
) -> None:
    """The engine had read it, though nothing was told of its answer."""
    scripted.hold()
    async with bench.worker(drain_seconds=0.05) as worker:
        job = await bench.submit(remote(scripted.url), ENDLESS, stream=False, cost_tokens=1_000_000, prompt_tokens=5000)
        await scripted.until_active(1)
        await worker.drain()
    assert await bench.queue.cancel(job) is CancelOutcome.CANCELLED
    assert await charged(bench, "remote") == 5000


async def test_a_refused_job_is_charged_for_its_prompt(bench: Bench, scripted: ScriptedEngine) -> None:
    messages = [{"role": "user", "content": "word " * 2000}]
    costs = {"cost_tokens": 1_000_000, "prompt_tokens": 5000}
    async with bench.worker():
        said = await bench.ask(remote(scripted.url), {"messages": messages}, **costs)
    assert said.end == "failed"
    assert said.events[-1].failed.usage == Usage(prompt_tokens=5000)
    assert await charged(bench, "remote") == 5000


async def test_a_job_that_reached_no_engine_costs_nothing(bench: Bench) -> None:
    async with bench.worker():
        said = await bench.ask(ModelSpec(id="m", engine="openai"), cost_tokens=1_000_000, prompt_tokens=5000)
    assert said.end == "failed"
    assert said.events[-1].failed.HasField("usage")
    assert said.events[-1].failed.usage == Usage()
    assert await charged(bench, "m") == 0


async def charged(bench: Bench, model: str) -> float:
    """What Ann was charged for her first job, asked of this model."""
    queue = queue_name(jobs_pb2.Job(model=ModelSpec(id=model)))
    charge = await bench.redis.zscore(keys.virtual_times(queue), "t:ann")
    assert charge is not None
    return charge


async def test_a_job_whose_gateway_is_gone_leaves_the_engine(bench: Bench, scripted: ScriptedEngine) -> None:
    scripted.hold(after_tokens=1)
    await bench.redis.hset(keys.leases(LeaseKind.GATEWAY), "gone", "gone:1")
    await bench.redis.expire(keys.leases(LeaseKind.GATEWAY), keys.IDLE_TTL_SECONDS)
    async with bench.worker(lease_seconds=0.2):
        job = await bench.submit(remote(scripted.url), ENDLESS, attended_by="gone")
        assert (await bench.read(job)).end == "cancelled"
        await scripted.until_active(0)


async def test_a_cancel_at_any_moment_ends_the_log(bench: Bench, scripted: ScriptedEngine) -> None:
    async with bench.worker():
        jobs = [await bench.submit(remote(scripted.url), ENDLESS) for _ in range(12)]
        for count, job in enumerate(jobs, start=1):
            await bench.read(job, chunks=count * 7)
            await bench.queue.cancel(job)
        assert [(await bench.read(job)).end for job in jobs] == ["cancelled"] * 12


async def test_a_job_ends_at_its_deadline(bench: Bench, scripted: ScriptedEngine) -> None:
    scripted.hold(after_tokens=1)
    timeout = Duration()
    timeout.FromTimedelta(timedelta(seconds=3))  # the first token must come before
    async with bench.worker():
        said = await bench.ask(remote(scripted.url), ENDLESS, timeout=timeout)
        await scripted.until_active(0)
    assert said.text == text(1)
    assert (said.end, said.error.kind, said.error.code) == ("failed", "deadline_exceeded", "timeout")


async def test_an_engine_lost_before_the_first_token_is_asked_again(bench: Bench, scripted: ScriptedEngine) -> None:
    scripted.hold()
    async with bench.worker():
        job = await bench.submit(remote(scripted.url))
        await scripted.until_active(1)
        scripted.crash()
        await scripted.until_requests(2)
        scripted.let_go()
        said = await bench.read(job)
    assert (said.text, said.end) == (text(5), "completed")


async def test_an_engine_lost_in_mid_answer_fails_the_job(bench: Bench, scripted: ScriptedEngine) -> None:
    scripted.hold(after_tokens=2)
    async with bench.worker():
        job = await bench.submit(remote(scripted.url))
        assert (await bench.read(job, chunks=3)).text == text(2)
        scripted.crash()
        said = await bench.read(job)
    assert (said.text, said.end, said.error.code) == (text(2), "failed", "worker_lost")


async def test_what_a_client_wrote_of_an_answer_is_gone_on_with_or_refused(
    bench: Bench, scripted: ScriptedEngine
) -> None:
    able = remote(scripted.url, continue_final_message=True)
    async with bench.worker():
        said = await bench.ask(able, prefill="One")
        assert (said.text, said.end) == (text(5), "completed")
        assert scripted.requests[-1]["messages"][-1] == {"role": "assistant", "content": "One"}
        assert scripted.requests[-1]["continue_final_message"] is True
        said = await bench.ask(remote(scripted.url), prefill="One")
        assert (said.end, said.error.kind, said.error.param) == ("failed", "invalid_argument", "messages")


async def test_an_engine_that_never_answers_is_given_up(bench: Bench) -> None:
    async with bench.worker():
        said = await bench.ask(remote("http://127.0.0.1:1/secret/v1"))
    assert (said.end, said.error.kind, said.error.code) == ("failed", "unavailable", "engine_unreachable")
    assert said.error.message.startswith("The engine of model remote did not answer.")
    assert "127.0.0.1" not in said.error.message


async def test_a_long_prompt_is_refused_in_openais_words(bench: Bench, scripted: ScriptedEngine) -> None:
    messages = [{"role": "user", "content": "word " * 2000}]
    async with bench.worker():
        said = await bench.ask(remote(scripted.url), {"messages": messages})
    assert (said.end, said.error.kind) == ("failed", "invalid_argument")
    assert (said.error.code, said.error.param) == ("context_length_exceeded", "messages")


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        (ModelSpec(id="m", engine="tensorrt-llm"), "engine_unsupported"),
        (ModelSpec(id="m", engine="openai"), "model_settings_invalid"),
        (ModelSpec(id="m", engine="llamacpp", files=["../other/model.gguf"]), "model_file_invalid"),
        (ModelSpec(id="m", engine="llamacpp", files=["model.gguf"]), "model_file_missing"),
        (ModelSpec(id="demo", engine="llamacpp", files=["demo.gguf"], settings_json="[]"), "model_settings_invalid"),
    ],
)
async def test_a_model_that_cannot_be_loaded_is_told(bench: Bench, spec: ModelSpec, code: str) -> None:
    async with bench.worker() as worker:
        said = await bench.ask(spec)
        (model,) = worker.models.all()
    assert (said.end, said.error.code) == ("failed", code)
    assert model.state is ModelState.ERROR
    assert model.error is not None
    assert model.error.message == said.error.message


async def test_a_body_that_is_no_json_is_our_mistake(bench: Bench, scripted: ScriptedEngine) -> None:
    async with bench.worker():
        said = await bench.ask(remote(scripted.url), raw_body=b"[]")
    assert (said.end, said.error.kind) == ("failed", "internal")


async def test_drains(bench: Bench, scripted: ScriptedEngine) -> None:
    scripted.hold(after_tokens=1)
    async with bench.worker() as worker:
        begun = await bench.submit(remote(scripted.url))
        await bench.read(begun, chunks=2)
        draining = asyncio.create_task(worker.drain())
        await asyncio.sleep(0)
        late = await bench.submit(remote(scripted.url))
        scripted.let_go()
        await draining
        assert (await bench.read(begun)).end == "completed"
    assert len(scripted.requests) == 1
    async with bench.worker():
        assert (await bench.read(late)).end == "completed"


async def test_what_does_not_end_in_time_is_handed_back_or_fails(bench: Bench, scripted: ScriptedEngine) -> None:
    scripted.hold(after_tokens=1)
    async with bench.worker(drain_seconds=0.05) as worker:
        speaking = await bench.submit(remote(scripted.url))
        await bench.read(speaking, chunks=2)
        silent = await bench.submit(remote(scripted.url), stream=False)
        await scripted.until_active(2)
        await worker.drain()
    said = await bench.read(speaking)
    assert (said.end, said.error.code) == ("failed", "worker_lost")
    scripted.let_go()
    async with bench.worker():
        assert (await bench.read(silent)).end == "completed"


async def test_a_job_that_is_cancelled_on_its_way_here_is_not_begun(
    bench: Bench, scripted: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bell rings between the take and its reply; no renewal comes to tell it again."""
    taken, arrives = asyncio.Event(), asyncio.Event()
    really_take = JobQueue.take

    async def take_slowly(queue: JobQueue, *models: Collection[str]) -> TakenJob | None:
        job = await really_take(queue, *models)
        if job is not None:
            taken.set()
            await arrives.wait()
        return job

    listens, heard = asyncio.Event(), asyncio.Event()
    really_listen = Bell.listen

    async def listen_and_tell(bell: Bell) -> AsyncGenerator[list[Signal], None]:
        async for signals in really_listen(bell):
            listens.set()
            yield signals
            if any(signal.kind is SignalKind.CANCELLED for signal in signals):
                heard.set()  # the worker has come back for more

    monkeypatch.setattr(Bell, "listen", listen_and_tell)
    monkeypatch.setattr(JobQueue, "take", take_slowly)
    scripted.hold()
    async with bench.worker(lease_seconds=4000):
        await listens.wait()  # a worker may take its first job before it hears anything
        job = await bench.submit(remote(scripted.url))
        await taken.wait()
        assert await bench.queue.cancel(job) is CancelOutcome.CANCELLING
        await heard.wait()
        arrives.set()
        assert (await bench.read(job)).end == "cancelled"
    assert not scripted.requests


async def test_a_job_that_is_taken_while_the_stop_comes_is_handed_back(
    bench: Bench, scripted: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, arrives = asyncio.Event(), asyncio.Event()
    really_take = JobQueue.take

    async def take_slowly(queue: JobQueue, *models: Collection[str]) -> TakenJob | None:
        job = await really_take(queue, *models)
        if job is not None:
            taken.set()
            await arrives.wait()
        return job

    scripted.hold()
    async with bench.worker() as worker:
        with monkeypatch.context() as patch:
            patch.setattr(JobQueue, "take", take_slowly)
            job = await bench.submit(remote(scripted.url))
            await taken.wait()
            draining = asyncio.create_task(worker.drain())
            await asyncio.sleep(0)
            arrives.set()
            await asyncio.wait_for(draining, 5)
    assert await bench.redis.zcard(keys.line("2:remote", "ann")) == 1
    assert not scripted.requests
    scripted.let_go()
    async with bench.worker():
        assert (await bench.read(job)).end == "completed"


@pytest.mark.parametrize("error", [None, RedisError("away")])
async def test_a_worker_never_takes_its_own_job_for_lost(
    bench: Bench, scripted: ScriptedEngine, monkeypatch: pytest.MonkeyPatch, error: RedisError | None
) -> None:
    beats = asyncio.Semaphore(0)

    async def renew_nothing(_scripts: Scripts, _kind: LeaseKind, held: Sequence[Lease]) -> list[LeaseState]:
        beats.release()
        if error is not None:
            raise error
        return [LeaseState.HELD] * len(held)

    monkeypatch.setattr(inference_service.jobs.worker, "renew", renew_nothing)
    scripted.hold(after_tokens=1)
    async with bench.worker(lease_seconds=0.1):
        job = await bench.submit(remote(scripted.url))
        await bench.read(job, chunks=2)
        for _ in range(12):  # three times as long as a lease lives
            await beats.acquire()
        scripted.let_go()
        assert (await bench.read(job)).end == "completed"


async def test_a_job_of_a_vanished_worker_runs_again(bench: Bench, scripted: ScriptedEngine) -> None:
    scripted.hold()
    async with bench.worker() as worker:
        job = await bench.submit(remote(scripted.url))
        await scripted.until_active(1)
        await worker.vanish()
    scripted.let_go()
    async with bench.worker(lease_seconds=0.2):
        said = await bench.read(job)
    assert (said.text, said.end) == (text(5), "completed")


async def test_a_begun_answer_of_a_vanished_worker_fails(bench: Bench, scripted: ScriptedEngine) -> None:
    scripted.hold(after_tokens=1)
    async with bench.worker() as worker:
        job = await bench.submit(remote(scripted.url))
        await bench.read(job, chunks=2)
        await worker.vanish()
    async with bench.worker(lease_seconds=0.2):
        said = await bench.read(job)
    assert (said.text, said.end, said.error.code) == (text(1), "failed", "worker_lost")
