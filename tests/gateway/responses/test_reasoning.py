"""What a model thinks is an item of its own, streamed, kept, passed on, and shown to no model again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.responses.test_responses import respond
from tests.gateway.responses.test_streams import TEXT_EVENTS, TOOLS, events_of

THINKING = [
    "response.output_item.added",
    "response.content_part.added",
    "response.reasoning_text.delta",
    "response.reasoning_text.delta",
    "response.reasoning_text.done",
    "response.content_part.done",
    "response.output_item.done",
]


async def think_and_say(worker: ScriptedWorker) -> None:
    job = await worker.take()
    await job.begin()
    await job.think("Well", " then")
    await job.say("Hello", " there")
    await job.think("too late")
    await job.finish()


@pytest.mark.parametrize("store", [True, False])
async def test_thoughts_are_streamed_in_front_of_the_answer(
    worker: ScriptedWorker, openai_client: AsyncOpenAI, store: bool
) -> None:
    events, _ = await asyncio.gather(events_of(openai_client, store=store), think_and_say(worker))
    assert [event.type for event in events] == [*TEXT_EVENTS[:2], *THINKING, *TEXT_EVENTS[2:]]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.delta for event in events if event.type == "response.reasoning_text.delta"] == ["Well", " then"]
    done = events[2 + len(THINKING) - 1]
    completed = events[-1].response
    assert completed.output[0] == done.item
    thought = done.item.model_dump(exclude_none=True)
    assert (thought["type"], thought["status"], thought["summary"]) == ("reasoning", "completed", [])
    assert thought["content"] == [{"type": "reasoning_text", "text": "Well then"}]
    assert completed.output_text == "Hello there"
    assert [item.type for item in completed.output] == ["reasoning", "message"]
    places = [event.output_index for event in events if hasattr(event, "output_index")]
    assert places == sorted(places)
    if store:
        assert await openai_client.responses.retrieve(completed.id) == completed


async def test_thoughts_in_front_of_a_call(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    async def think_and_call() -> None:
        job = await worker.take()
        await job.begin()
        await job.think("Rome?")
        await job.call(0, "weather", '{"city":"Rome"}')
        await job.finish("tool_calls")

    asking = openai_client.responses.create(model=MODEL_ID, input="Hi", tools=TOOLS)
    response, _ = await asyncio.gather(asking, think_and_call())
    assert [item.type for item in response.output] == ["reasoning", "function_call"]


async def test_a_thought_that_was_cut_is_incomplete(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    async def think_too_long() -> None:
        job = await worker.take()
        await job.begin()
        await job.think("Well")
        await job.until_cancelled()

    thinking = asyncio.create_task(think_too_long())
    stream = await openai_client.responses.create(model=MODEL_ID, input="Hi", stream=True)
    events: list[Any] = []
    async for event in stream:
        events.append(event)
        if event.type == "response.reasoning_text.delta":
            await openai_client.responses.cancel(events[0].response.id)
    await thinking
    stopped = events[-1].response
    [thought] = stopped.output
    assert (stopped.status, thought.status) == ("cancelled", "incomplete")
    assert thought == events[-2].item


async def test_output_may_be_sent_back_as_it_is(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    first, _ = await asyncio.gather(openai_client.responses.create(model=MODEL_ID, input="Hi"), think_and_say(worker))
    sent: list[Any] = [
        {"role": "user", "content": "Hi"},
        *(item.model_dump(exclude_none=True) for item in first.output),
        {"role": "user", "content": "And?"},
    ]
    second, body = await respond(openai_client, worker, input=sent)
    shown = [(one["role"], one["content"]) for one in body["messages"]]
    assert shown == [("user", "Hi"), ("assistant", "Hello there"), ("user", "And?")]
    items = await openai_client.responses.input_items.list(second.id, order="asc")
    assert [item.type for item in items.data] == ["message", "reasoning", "message", "message"]
    third, body = await respond(openai_client, worker, input="So?", previous_response_id=first.id)
    assert [one["content"] for one in body["messages"]] == ["Hi", "Hello there", "So?"]
    await openai_client.responses.delete(third.id)


async def test_a_run_neither_keeps_nor_tells_thoughts(gateway: Gateway, worker: ScriptedWorker) -> None:
    thread = await gateway.json("POST", "/v1/threads", {})
    path = f"/v1/threads/{thread['id']}"

    async def streamed() -> str:
        body = {"assistant_id": "jan", "model": MODEL_ID, "stream": True}
        async with gateway.client.post(f"{path}/runs", json=body) as answer:
            return await answer.text()

    told, _ = await asyncio.gather(streamed(), think_and_say(worker))
    assert "Well" not in told
    [message] = (await gateway.json("GET", f"{path}/messages"))["data"]
    assert [part["type"] for part in message["content"]] == ["text"]


async def test_a_responses_run_is_followed_without_its_thoughts(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    first, _ = await asyncio.gather(openai_client.responses.create(model=MODEL_ID, input="Hi"), think_and_say(worker))
    thread_id = first.model_dump()["thread_id"]
    run_id = first.id.replace("resp_", "run_").partition(f"_{thread_id}")[0]
    async with gateway.client.get(f"/v1/threads/{thread_id}/runs/{run_id}?stream=true") as answer:
        told = await answer.text()
    assert "Hello" in told
    assert "response.reasoning" not in told
