"""Embeddings through the queue, on a worker with a scripted engine or none at all."""

from __future__ import annotations

import json

import pytest

from jan.inference.v1.jobs_pb2 import ENDPOINT_EMBEDDINGS, ENDPOINT_UNSPECIFIED, ModelSpec
from tests.inference_service.bench import Bench, demo, remote
from tests.inference_service.scripted_engine import ScriptedEngine, vector_of


async def test_a_list_of_embeddings_is_one_piece(bench: Bench, scripted: ScriptedEngine) -> None:
    inputs = [f"river {number}" for number in range(70)]
    async with bench.worker():
        said = await bench.ask(remote(scripted.url), {"input": inputs}, stream=False, endpoint=ENDPOINT_EMBEDDINGS)
    assert [event.WhichOneof("event") for event in said.events] == ["chunk", "completed"]
    (answer,) = said.chunks
    assert answer["model"] == "remote"
    for place, one in enumerate(answer["data"]):
        assert (one["object"], one["index"]) == ("embedding", place)
        assert one["embedding"] == pytest.approx(vector_of(inputs[place]), abs=1e-6)
    assert said.events[-1].completed.usage.prompt_tokens == answer["usage"]["total_tokens"] == 140
    assert [len(request["input"]) for request in scripted.requests] == [32, 32, 6]
    assert set(scripted.requests[0]) == {"model", "input"}


async def test_a_cancelled_list_asks_for_no_more(bench: Bench, scripted: ScriptedEngine) -> None:
    scripted.hold()
    async with bench.worker():
        job = await bench.submit(
            remote(scripted.url), {"input": ["x"] * 2000}, stream=False, endpoint=ENDPOINT_EMBEDDINGS
        )
        await scripted.until_requests(1)
        await bench.queue.cancel(job)
        assert (await bench.read(job)).end == "cancelled"
        scripted.let_go()
        assert (await bench.ask(remote(scripted.url))).end == "completed"
    assert len(scripted.requests) == 2


async def test_an_engine_that_breaks_off_is_asked_again(bench: Bench, scripted: ScriptedEngine) -> None:
    scripted.hold()
    async with bench.worker():
        job = await bench.submit(remote(scripted.url), {"input": ["x"]}, stream=False, endpoint=ENDPOINT_EMBEDDINGS)
        await scripted.until_requests(1)
        scripted.crash()
        await scripted.until_requests(2)
        scripted.let_go()
        assert (await bench.read(job)).end == "completed"


@pytest.mark.parametrize("engine", ["llamacpp", "vllm"])
async def test_a_model_for_chats_says_which_setting_it_lacks_and_is_not_loaded(bench: Bench, engine: str) -> None:
    spec = ModelSpec(id="demo", engine=engine, files=["demo.gguf"], settings_json=json.dumps({"embedding": False}))
    async with bench.worker() as worker:
        said = await bench.ask(spec, {"input": ["x"]}, stream=False, endpoint=ENDPOINT_EMBEDDINGS)
        assert worker.models.all() == []
    assert (said.end, said.error.kind, said.error.param) == ("failed", "invalid_argument", "model")
    assert said.error.message == (
        'Model demo computes no embeddings: set "embedding": true in the settings of its model.json.'
    )


async def test_a_pooling_model_is_not_loaded_for_a_chat(bench: Bench) -> None:
    spec = ModelSpec(id="pool", engine="vllm", settings_json=json.dumps({"embedding": "true"}))
    async with bench.worker() as worker:
        said = await bench.ask(spec)
        assert worker.models.all() == []
    assert said.error.message == "Model pool computes embeddings; it writes no text."


async def test_an_endpoint_that_nobody_knows_is_refused(bench: Bench, scripted: ScriptedEngine) -> None:
    async with bench.worker():
        said = await bench.ask(remote(scripted.url), endpoint=ENDPOINT_UNSPECIFIED)
    assert (said.end, said.error.kind) == ("failed", "invalid_argument")


@pytest.mark.engine
async def test_a_real_model_embeds(bench: Bench) -> None:
    async with bench.worker():
        said = await bench.ask(
            demo(embedding=True), {"input": [[81, 4626]]}, stream=False, endpoint=ENDPOINT_EMBEDDINGS
        )
    assert said.end == "completed"
    assert len(said.chunks[0]["data"][0]["embedding"]) == 576
