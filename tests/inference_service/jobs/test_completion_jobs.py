"""Text completions through the queue, on a worker with a scripted engine or a real one."""

from __future__ import annotations

import pytest

from jan.inference.v1.jobs_pb2 import ENDPOINT_COMPLETIONS
from tests.inference_service.bench import Bench, Said, demo, remote
from tests.inference_service.scripted_engine import ScriptedEngine
from tests.inference_service.scripted_words import text


def told(said: Said) -> str:
    return "".join(choice["text"] for chunk in said.chunks for choice in chunk["choices"])


async def test_streams_a_completion(bench: Bench, scripted: ScriptedEngine) -> None:
    request = {"prompt": ["x"], "stream_options": {"include_usage": True}}
    async with bench.worker():
        said = await bench.ask(remote(scripted.url), request, endpoint=ENDPOINT_COMPLETIONS)
    assert said.end == "completed"
    assert told(said) == text(5)
    assert {(c["id"], c["object"], c["model"]) for c in said.chunks} == {("chatcmpl-1", "text_completion", "remote")}
    assert said.events[-1].completed.finish_reason == "length"
    assert said.events[-1].completed.usage.completion_tokens == said.chunks[-1]["usage"]["completion_tokens"] == 5
    assert scripted.requests[0]["prompt"] == "x"


async def test_answers_a_completion_whole(bench: Bench, scripted: ScriptedEngine) -> None:
    async with bench.worker():
        said = await bench.ask(remote(scripted.url), {"prompt": ["x"]}, stream=False, endpoint=ENDPOINT_COMPLETIONS)
    assert [event.WhichOneof("event") for event in said.events] == ["chunk", "completed"]
    assert told(said) == text(5)


async def test_an_engine_lost_in_mid_text_fails_the_job_with_what_was_said(
    bench: Bench, scripted: ScriptedEngine
) -> None:
    scripted.hold(after_tokens=2)
    async with bench.worker():
        job = await bench.submit(remote(scripted.url), {"prompt": ["x"]}, endpoint=ENDPOINT_COMPLETIONS)
        assert told(await bench.read(job, chunks=2)) == text(2)
        scripted.crash()
        said = await bench.read(job)
    assert (told(said), said.end, said.error.code) == (text(2), "failed", "worker_lost")


async def test_a_cancelled_completion_leaves_the_engine(bench: Bench, scripted: ScriptedEngine) -> None:
    scripted.hold(after_tokens=1)
    async with bench.worker():
        job = await bench.submit(remote(scripted.url), {"prompt": ["x"]}, endpoint=ENDPOINT_COMPLETIONS)
        await bench.read(job, chunks=1)
        await bench.queue.cancel(job)
        await scripted.until_active(0)
        assert (await bench.read(job)).end == "cancelled"


@pytest.mark.engine
async def test_a_real_model_goes_on_with_several_prompts(bench: Bench) -> None:
    """llama.cpp says `null` between the prompts of one stream."""
    request = {"prompt": ["One, two,", "The capital of France is"], "max_tokens": 3, "temperature": 0}
    async with bench.worker():
        said = await bench.ask(demo(), request, endpoint=ENDPOINT_COMPLETIONS)
        (whole,) = (await bench.ask(demo(), request, stream=False, endpoint=ENDPOINT_COMPLETIONS)).chunks
    assert said.end == "completed"
    for index in (0, 1):
        pieces = [c["text"] for chunk in said.chunks for c in chunk["choices"] if c["index"] == index]
        assert "".join(pieces) == whole["choices"][index]["text"]
