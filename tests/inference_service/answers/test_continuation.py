"""Answers that were begun by a worker or an engine which is gone: the next attempt goes on, or says that it cannot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from inference_service.answers.continuation import is_plain
from jan import keys
from jan.inference.v1.jobs_pb2 import (
    ENDPOINT_CHAT_COMPLETIONS,
    ENDPOINT_COMPLETIONS,
    Chunk,
    Endpoint,
    JobEvent,
    ModelSpec,
)
from jan.queue.jobs import MAX_LOST_WORKERS
from jan.queue.log import LogWriter
from jan.queue.scripts import Scripts
from tests.inference_service.bench import Bench, Said, remote
from tests.inference_service.engines.asking import CITY, TOOLS
from tests.inference_service.scripted_engine import PROMPT_TOKENS, ScriptedEngine
from tests.inference_service.scripted_words import text, token

TOKENS = 8
USAGE = {"stream_options": {"include_usage": True}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}


def continuing(scripted: ScriptedEngine) -> ModelSpec:
    """A remote model whose server is known to go on with what was begun."""
    return remote(scripted.url, continue_final_message=True)


async def begun_and_left(
    bench: Bench,
    spec: ModelSpec,
    request: Mapping[str, Any],
    *said: bytes,
    endpoint: Endpoint.ValueType = ENDPOINT_CHAT_COMPLETIONS,
) -> str:
    """A job whose worker has published so much and was never seen again."""
    job = await bench.submit(spec, request, endpoint=endpoint)
    taken = await bench.queue.take()
    assert taken is not None
    events = [JobEvent(chunk=Chunk(data=data)).SerializeToString() for data in said]
    await LogWriter(Scripts.register(bench.redis), taken.lease).publish(events)
    return job


def delta(content: str) -> bytes:
    return (
        b'{"choices":[{"index":0,"delta":{"role":"assistant","content":"%b"},"logprobs":null,"finish_reason":null}]}'
        % content.encode()
    )


def assert_whole(said: Said, tokens: int = TOKENS) -> None:
    """One answer as nobody had died: each token once, the role first and once, one reason, the usage of all of it."""
    assert (said.text, said.end) == (text(tokens), "completed")
    deltas = [choice["delta"] for chunk in said.chunks for choice in chunk["choices"]]
    assert [d for d in deltas if "role" in d] == [deltas[0]]
    assert [c["finish_reason"] for chunk in said.chunks for c in chunk["choices"] if c["finish_reason"]] == ["length"]
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens, "total_tokens": PROMPT_TOKENS + tokens}
    assert said.chunks[-1]["usage"] == usage
    completed = said.events[-1].completed
    assert (completed.finish_reason, completed.usage.completion_tokens) == ("length", tokens)


@pytest.mark.parametrize("place", range(TOKENS))
async def test_a_worker_killed_at_any_token(bench: Bench, scripted: ScriptedEngine, place: int) -> None:
    scripted.hold(after_tokens=place)
    async with bench.worker() as worker:
        job = await bench.submit(continuing(scripted), {"max_tokens": TOKENS, **USAGE})
        await scripted.until_active(1)
        if place:
            await bench.read(job, chunks=1 + place)
        await worker.vanish()
    scripted.let_go()
    async with bench.worker(lease_seconds=0.2):
        assert_whole(await bench.read(job))
    assert scripted.requests[-1]["max_tokens"] == TOKENS - place
    assert len(scripted.requests) == 2


@pytest.mark.parametrize("place", range(TOKENS))
async def test_an_engine_that_crashes_at_any_token(bench: Bench, scripted: ScriptedEngine, place: int) -> None:
    scripted.hold(after_tokens=place)
    async with bench.worker():
        job = await bench.submit(continuing(scripted), {"max_tokens": TOKENS, **USAGE})
        await scripted.until_active(1)
        if place:
            await bench.read(job, chunks=1 + place)
        scripted.crash()
        await scripted.until_requests(2)
        scripted.let_go()
        assert_whole(await bench.read(job))


@pytest.mark.parametrize("place", range(TOKENS))
async def test_an_engine_whose_core_dies_at_any_token(bench: Bench, scripted: ScriptedEngine, place: int) -> None:
    """Its server lives on for a while, and answers each request with an error that is not the request's fault."""
    scripted.hold(after_tokens=place)
    async with bench.worker():
        job = await bench.submit(continuing(scripted), {"max_tokens": TOKENS, **USAGE})
        await scripted.until_active(1)
        if place:
            await bench.read(job, chunks=1 + place)
        scripted.lose_core(answers=MAX_LOST_WORKERS - 1)
        assert_whole(await bench.read(job))


@pytest.mark.parametrize("endpoint", [ENDPOINT_CHAT_COMPLETIONS, ENDPOINT_COMPLETIONS])
async def test_a_whole_answer_is_asked_for_again_when_the_core_dies(
    bench: Bench, scripted: ScriptedEngine, endpoint: Endpoint.ValueType
) -> None:
    request = {"prompt": ["x"]} if endpoint == ENDPOINT_COMPLETIONS else {}
    scripted.lose_core(answers=MAX_LOST_WORKERS - 1)
    async with bench.worker():
        said = await bench.ask(remote(scripted.url), request, stream=False, endpoint=endpoint)
        assert (said.end, len(scripted.requests)) == ("completed", MAX_LOST_WORKERS)
        scripted.lose_core(answers=MAX_LOST_WORKERS)
        said = await bench.ask(remote(scripted.url), request, stream=False, endpoint=endpoint)
        assert (said.end, said.error.code) == ("failed", "engine_unreachable")


@pytest.mark.parametrize("place", range(1, TOKENS))
async def test_a_text_completion_goes_on(bench: Bench, scripted: ScriptedEngine, place: int) -> None:
    scripted.hold(after_tokens=place)
    request = {"prompt": ["x"], "max_tokens": TOKENS, "echo": True, **USAGE}
    async with bench.worker():
        job = await bench.submit(continuing(scripted), request, endpoint=ENDPOINT_COMPLETIONS)
        await bench.read(job, chunks=place)
        scripted.crash()
        await scripted.until_requests(2)
        scripted.let_go()
        said = await bench.read(job)
    assert "".join(choice["text"] for chunk in said.chunks for choice in chunk["choices"]) == f"x{text(TOKENS)}"
    assert said.events[-1].completed.usage.prompt_tokens == PROMPT_TOKENS
    assert said.events[-1].completed.usage.completion_tokens == TOKENS
    assert scripted.requests[-1]["prompt"] == f"x{text(place)}"


async def test_an_echo_that_was_told_alone_is_not_told_again(bench: Bench, scripted: ScriptedEngine) -> None:
    """The engine repeats the prompt by itself, and its first token after that was half a character."""
    request = {"prompt": ["x"], "max_tokens": TOKENS, "echo": True, **USAGE}
    echo = b'{"choices":[{"index":0,"text":"x","logprobs":null,"finish_reason":null}]}'
    job = await begun_and_left(bench, continuing(scripted), request, echo, endpoint=ENDPOINT_COMPLETIONS)
    async with bench.worker(lease_seconds=0.2):
        said = await bench.read(job)
    assert "".join(choice["text"] for chunk in said.chunks for choice in chunk["choices"]) == f"x{text(TOKENS)}"
    assert (scripted.requests[0]["prompt"], scripted.requests[0]["max_tokens"]) == ("x", TOKENS)


async def test_two_losses_are_survived_and_the_third_is_told(bench: Bench, scripted: ScriptedEngine) -> None:
    async with bench.worker():
        scripted.hold(after_tokens=1)
        job = await bench.submit(continuing(scripted), {"max_tokens": TOKENS})
        for attempt in range(1, MAX_LOST_WORKERS + 1):
            await bench.read(job, chunks=1 + attempt)
            scripted.hold(after_tokens=1 + attempt)
            scripted.crash()
        said = await bench.read(job)
    assert (said.text, said.end, said.error.code) == (text(MAX_LOST_WORKERS), "failed", "worker_lost")


async def test_an_answer_that_lacks_only_its_end_gets_it(bench: Bench, scripted: ScriptedEngine) -> None:
    said = (delta(""), *(b"%b" % delta(token(i)) for i in range(TOKENS)))
    job = await begun_and_left(bench, continuing(scripted), {"max_tokens": TOKENS, **USAGE}, *said)
    async with bench.worker(lease_seconds=0.2):
        assert (await bench.read(job)).text == text(TOKENS)
    answer = await bench.read(job)
    assert answer.events[-1].completed.finish_reason == "length"
    assert answer.chunks[-1]["usage"]["completion_tokens"] == TOKENS
    assert scripted.requests[0]["max_tokens"] == 1  # what it says is dropped


async def test_what_a_drain_breaks_off_is_gone_on_with(bench: Bench, scripted: ScriptedEngine) -> None:
    scripted.hold(after_tokens=2)
    async with bench.worker(drain_seconds=0.05) as worker:
        job = await bench.submit(continuing(scripted), {"max_tokens": TOKENS, **USAGE})
        await bench.read(job, chunks=3)
        await worker.drain()
    scripted.let_go()
    async with bench.worker():
        assert_whole(await bench.read(job))


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"logprobs": True},
        {"response_format": {"type": "json_object"}},
        {"response_format": SCHEMA},
        {"tools": TOOLS},
    ],
)
async def test_what_is_more_than_text_is_kept_as_it_is(
    bench: Bench, scripted: ScriptedEngine, more: Mapping[str, Any]
) -> None:
    job = await begun_and_left(bench, continuing(scripted), more, delta(""), delta(token(0)))
    async with bench.worker(lease_seconds=0.2):
        said = await bench.read(job)
    assert (said.text, said.end, said.error.code) == (text(1), "failed", "worker_lost")
    assert not scripted.requests


@pytest.mark.parametrize(
    "chunk",
    [
        b'{"choices":[{"index":0,"delta":{"reasoning_content":"Hm"},"logprobs":null,"finish_reason":null}]}',
        b'{"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}',
        b'{"choices":[],"usage":{}}',
    ],
)
async def test_thoughts_and_ends_are_not_gone_on_with(bench: Bench, scripted: ScriptedEngine, chunk: bytes) -> None:
    job = await begun_and_left(bench, continuing(scripted), {}, delta(token(0)), chunk)
    async with bench.worker(lease_seconds=0.2):
        said = await bench.read(job)
    assert (said.end, said.error.code) == ("failed", "worker_lost")
    assert not scripted.requests


async def test_a_log_that_lost_its_beginning_is_not_gone_on_with(bench: Bench, scripted: ScriptedEngine) -> None:
    job = await begun_and_left(bench, continuing(scripted), {}, delta(token(0)), delta(token(1)), delta(token(2)))
    await bench.redis.xdel(keys.log(job), "1-0")
    async with bench.worker(lease_seconds=0.2):
        said = await bench.read(job)
    assert (said.end, said.error.code) == ("failed", "worker_lost")


async def test_a_server_that_cannot_go_on_keeps_what_was_said(bench: Bench, scripted: ScriptedEngine) -> None:
    job = await begun_and_left(bench, remote(scripted.url), {}, delta(token(0)))
    async with bench.worker(lease_seconds=0.2):
        said = await bench.read(job)
    assert (said.text, said.end, said.error.code) == (text(1), "failed", "worker_lost")
    assert not scripted.requests


async def test_a_refusal_to_go_on_is_not_the_clients_mistake(bench: Bench, scripted: ScriptedEngine) -> None:
    long = "word " * 2000
    job = await begun_and_left(bench, continuing(scripted), {"max_tokens": TOKENS}, delta(long))
    async with bench.worker(lease_seconds=0.2):
        said = await bench.read(job)
    assert (said.text, said.end, said.error.code) == (long, "failed", "worker_lost")


async def test_a_role_alone_is_no_beginning(bench: Bench, scripted: ScriptedEngine) -> None:
    job = await begun_and_left(bench, remote(scripted.url), {"max_tokens": TOKENS, **USAGE}, delta(""))
    async with bench.worker(lease_seconds=0.2):
        assert_whole(await bench.read(job))
    assert scripted.requests[0]["messages"][-1]["role"] == "user"


async def test_nobody_else_asks_an_engine_to_go_on(bench: Bench, scripted: ScriptedEngine) -> None:
    async with bench.worker():
        await bench.ask(continuing(scripted), {"continue_final_message": True, "add_generation_prompt": False})
    assert not {"continue_final_message", "add_generation_prompt"} & scripted.requests[0].keys()


@pytest.mark.parametrize(
    ("logprobs", "plain"), [(None, True), (False, True), (True, False), (0, False), (3, False)], ids=repr
)
def test_an_answer_with_log_probabilities_is_not_plain(logprobs: object, plain: bool) -> None:
    assert is_plain({"prompt": ["Once"], "logprobs": logprobs}) is plain
