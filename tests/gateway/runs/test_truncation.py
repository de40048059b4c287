"""How much of a thread a run's model is shown, with the tokens that a real model counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.runs.conversation import Conversation
from tests.fixtures.engine_host import EngineHost
from tests.fixtures.gateway import Gateway, write_model
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.routes.test_runs import NO_USAGE, new_thread, start, texts, until_ended
from tests.gateway.runs.tool_runs import TOOLS, call_weather, submitted, until_over

DEMO = "demo"
CTX_LEN = 512
ROOM = CTX_LEN - CTX_LEN // 4  # a quarter is left for the answer


@pytest.fixture
async def demo(gateway: Gateway, storage_server: StorageServer, engine_host: EngineHost, demo_gguf: Path) -> str:
    """The demo model, whose tokens the engine host counts; its jobs are the test's."""
    settings = {"ctx_len": CTX_LEN, "n_parallel": 1, "llama_model_path": "demo.gguf"}
    write_model(storage_server.janroot, DEMO, engine="llamacpp", format="gguf", sources=[], settings=settings)
    (storage_server.janroot / "models" / DEMO / "demo.gguf").symlink_to(demo_gguf)
    async with gateway.client.get("/v1/devices") as answer:  # the host, reached
        assert answer.status == 200, await answer.text()
    return DEMO


def numbered_texts(count: int) -> list[str]:
    return [f"This is message {number} of a long conversation about the weather." for number in range(count)]


async def tokens_of(gateway: Gateway, messages: list[dict[str, Any]]) -> int:
    return int((await gateway.json("POST", "/v1/tokenize", {"model": DEMO, "messages": messages}))["count"])


@pytest.mark.engine
@pytest.mark.parametrize(("limit", "room"), [(None, ROOM), (256, 256), (1024, ROOM)])
async def test_auto_leaves_out_as_little_of_the_middle_as_need_be(
    gateway: Gateway, worker: ScriptedWorker, demo: str, limit: int | None, room: int
) -> None:
    said = numbered_texts(60)
    thread_id = await new_thread(gateway, *said)
    run = await start(gateway, thread_id, model=demo, instructions="Be brief.", max_prompt_tokens=limit)
    assert (run["max_prompt_tokens"], run["truncation_strategy"]) == (limit, {"type": "auto", "last_messages": None})
    taken = await worker.answer()
    system, first, *rest = taken.body["messages"]
    assert (system["content"], first["content"]) == ("Be brief.", said[0])
    newest = [message["content"] for message in rest]
    assert newest == said[-len(newest) :]
    longer = [system, first, {"role": "user", "content": said[-len(newest) - 1]}, *rest]
    assert await tokens_of(gateway, taken.body["messages"]) <= room < await tokens_of(gateway, longer)
    assert (await until_ended(gateway, run))["status"] == "completed"


@pytest.mark.engine
async def test_a_thread_that_fits_is_told_whole(gateway: Gateway, worker: ScriptedWorker, demo: str) -> None:
    said = numbered_texts(15)
    run = await start(gateway, await new_thread(gateway, *said), model=demo)
    taken = await worker.answer()
    assert [message["content"] for message in taken.body["messages"]] == said
    assert (await until_ended(gateway, run))["status"] == "completed"


@pytest.mark.engine
async def test_what_cannot_be_made_to_fit_is_left_to_the_engine_to_refuse(
    gateway: Gateway, worker: ScriptedWorker, demo: str
) -> None:
    run = await start(gateway, await new_thread(gateway, "Hi", "far " * 2000), model=demo)
    taken = await worker.answer()
    assert [message["content"] for message in taken.body["messages"]] == ["far " * 2000]
    assert (await until_ended(gateway, run))["status"] == "completed"


async def test_a_prompt_beyond_its_limit_ends_the_run_before_the_model_is_asked(gateway: Gateway) -> None:
    """Nobody counts the tokens of this model, so they are estimated."""
    for strategy in (None, {"type": "last_messages", "last_messages": 1}):
        thread_id = await new_thread(gateway, "Hi", "far " * 2000)
        run = await start(gateway, thread_id, max_prompt_tokens=256, truncation_strategy=strategy)
        ended = await until_ended(gateway, run)
        assert (ended["status"], ended["incomplete_details"]) == ("incomplete", {"reason": "max_prompt_tokens"})
        assert (ended["usage"], ended["started_at"]) == (NO_USAGE, None)
        assert len(await texts(gateway, thread_id)) == 2


async def test_rounds_share_the_tokens_of_prompts(gateway: Gateway, worker: ScriptedWorker) -> None:
    run = await start(gateway, await new_thread(gateway, "Hi"), tools=TOOLS, max_prompt_tokens=256)
    await call_weather(worker)
    await submitted(gateway, await until_ended(gateway, run), ("call_weather_0", "far " * 2000))
    ended = await until_over(gateway, run)
    assert (ended["status"], ended["incomplete_details"]) == ("incomplete", {"reason": "max_prompt_tokens"})
    assert ended["usage"]["prompt_tokens"] == 7


async def test_auto_does_not_mind_a_number_of_messages(gateway: Gateway, worker: ScriptedWorker) -> None:
    strategy = {"type": "auto", "last_messages": 1}
    run = await start(gateway, await new_thread(gateway, "one", "two"), truncation_strategy=strategy)
    taken = await worker.answer()
    assert [message["content"] for message in taken.body["messages"]] == ["one", "two"]
    assert (await until_ended(gateway, run))["truncation_strategy"] == strategy
    run = await start(gateway, run["thread_id"], truncation_strategy={"type": "auto"})
    await worker.answer()
    assert (await until_ended(gateway, run))["truncation_strategy"] == {"type": "auto", "last_messages": None}


def test_a_conversation_is_shortened_in_its_middle() -> None:
    thread = [{"content": number} for number in range(5)]
    whole = Conversation([{"content": "system"}], thread, [{"content": "said"}])
    kept = [[message["content"] for message in whole.shortened(count).messages()] for count in range(1, 7)]
    assert kept == [
        ["system", 4, "said"],
        ["system", 0, 4, "said"],
        ["system", 0, 3, 4, "said"],
        ["system", 0, 2, 3, 4, "said"],
        ["system", 0, 1, 2, 3, 4, "said"],
        ["system", 0, 1, 2, 3, 4, "said"],
    ]
