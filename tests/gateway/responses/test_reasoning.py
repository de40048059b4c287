"""What a model thinks is an item of its own, streamed, kept, passed on, and shown to no model again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import ClientResponse
from openai import AsyncOpenAI

from jan.errors import UnavailableError
from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.responses.test_responses import respond
from tests.gateway.responses.test_streams import TEXT_EVENTS, TOOLS, events_of
from tests.gateway.routes.test_runs import parse_events

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
    await job.think("Or", " not")
    await job.finish()


@pytest.mark.parametrize("store", [True, False])
async def test_thoughts_are_streamed_in_front_of_the_answer(
    worker: ScriptedWorker, openai_client: AsyncOpenAI, store: bool
) -> None:
    events, _ = await asyncio.gather(events_of(openai_client, store=store), think_and_say(worker))
    told = [*TEXT_EVENTS[:2], *THINKING, *TEXT_EVENTS[2:-1], *THINKING, TEXT_EVENTS[-1]]
    assert [event.type for event in events] == told
    assert [event.sequence_number for event in events] == list(range(len(events)))
    thoughts = [event.delta for event in events if event.type == "response.reasoning_text.delta"]
    assert thoughts == ["Well", " then", "Or", " not"]
    done = events[2 + len(THINKING) - 1]
    completed = events[-1].response
    assert completed.output[0] == done.item
    thought = done.item.model_dump(exclude_none=True)
    assert (thought["type"], thought["status"], thought["summary"]) == ("reasoning", "completed", [])
    assert thought["content"] == [{"type": "reasoning_text", "text": "Well then"}]
    assert completed.output_text == "Hello there"
    assert [item.type for item in completed.output] == ["reasoning", "message", "reasoning"]
    places = [event.output_index for event in events if hasattr(event, "output_index")]
    assert places == sorted(places)
    if store:
        assert await openai_client.responses.retrieve(completed.id) == completed


@pytest.mark.parametrize("store", [True, False])
async def test_items_stand_as_they_were_begun(worker: ScriptedWorker, openai_client: AsyncOpenAI, store: bool) -> None:
    async def answer() -> None:
        job = await worker.take()
        await job.begin()
        await job.say("I look.")
        await job.think("Rome", "?")
        await job.call(0, "weather", '{"city":')
        await job.say("And", " there.")
        await job.call(1, "weather", '{"city":"Oslo"}')
        await job.think("Done.")
        await job._chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Rome"}'}}]})
        await job.finish("tool_calls")

    events, _ = await asyncio.gather(events_of(openai_client, store=store, tools=TOOLS), answer())
    completed = events[-1].response
    kinds = ["message", "reasoning", "function_call", "message", "function_call", "reasoning"]
    assert [item.type for item in completed.output] == kinds
    assert len({item.id for item in completed.output}) == len(kinds)
    assert [item.arguments for item in completed.output if item.type == "function_call"] == [
        '{"city":"Rome"}',
        '{"city":"Oslo"}',
    ]
    assert completed.output_text == "I look.And there."
    for name in ("added", "done"):
        items = {event.output_index: event.item for event in events if event.type == f"response.output_item.{name}"}
        assert [items[place].id for place in sorted(items)] == [item.id for item in completed.output]
    assert [items[place] for place in sorted(items)] == completed.output
    if not store:
        return
    assert await openai_client.responses.retrieve(completed.id) == completed
    outputs: list[Any] = [
        {"type": "function_call_output", "call_id": item.call_id, "output": "Sunny."}
        for item in completed.output
        if item.type == "function_call"
    ]
    _, body = await respond(openai_client, worker, input=outputs, previous_response_id=completed.id)
    told = [(one["role"], one["content"], len(one.get("tool_calls", ()))) for one in body["messages"]]
    calls = [("assistant", "And there.", 2), ("tool", "Sunny.", 0), ("tool", "Sunny.", 0)]
    assert told == [("user", "Hi", 0), ("assistant", "I look.", 0), *calls]


@pytest.mark.parametrize("store", [True, False])
async def test_the_stock_client_gathers_what_is_streamed(
    worker: ScriptedWorker, openai_client: AsyncOpenAI, store: bool
) -> None:
    async def gathered() -> Any:
        async with openai_client.responses.stream(model=MODEL_ID, input="Hi", store=store) as stream:
            return await stream.get_final_response()

    response, _ = await asyncio.gather(gathered(), think_and_say(worker))
    assert response.output_text == "Hello there"
    assert [item.type for item in response.output] == ["reasoning", "message", "reasoning"]


@pytest.mark.parametrize("ends", ["length", "fails"])
@pytest.mark.parametrize("store", [True, False])
async def test_only_what_was_said_last_is_cut(
    worker: ScriptedWorker, openai_client: AsyncOpenAI, ends: str, store: bool
) -> None:
    async def answer() -> None:
        job = await worker.take()
        await job.begin()
        await job.say("One")
        await job.think("Hm")
        await job.say("Tw")
        await (job.finish("length") if ends == "length" else job.fail(UnavailableError("The engine broke.")))

    events, _ = await asyncio.gather(events_of(openai_client, store=store), answer())
    response = events[-1].response
    assert response.status == ("incomplete" if ends == "length" else "failed")
    assert [item.status for item in response.output] == ["completed", "completed", "incomplete"]
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert done == response.output
    if store:
        assert await openai_client.responses.retrieve(response.id) == response


@pytest.mark.parametrize("store", [True, False])
async def test_white_space_between_thoughts_and_a_call_is_no_message(
    worker: ScriptedWorker, openai_client: AsyncOpenAI, store: bool
) -> None:
    async def answer() -> None:
        job = await worker.take()
        await job.begin()
        await job.think("Rome?")
        await job.say("\n\n")
        await job.call(0, "weather", "{}")
        await job.finish("tool_calls")

    asking = openai_client.responses.create(model=MODEL_ID, input="Hi", tools=TOOLS, store=store)
    response, _ = await asyncio.gather(asking, answer())
    assert [item.type for item in response.output] == ["reasoning", "function_call"]


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
    assert [item.type for item in items.data] == ["message", "reasoning", "message", "reasoning", "message"]
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


async def test_a_responses_messages_are_told_one_at_a_time(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    """Where its run is followed as an Assistants client does: helpers know one message at a time."""
    response = await openai_client.responses.create(model=MODEL_ID, input="Hi", tools=TOOLS, background=True)
    path = run_path(response)
    job = await worker.take()
    await job.begin()
    async with gateway.client.get(f"{path}?stream=true") as answer:
        await job.say("One")
        await job.think("Hm")
        await job.say("Two")
        told = await until_told(answer, b'"Two"')
        kept = (await gateway.json("GET", f"{path.partition('/runs')[0]}/messages?order=asc"))["data"]
        assert [part["type"] for message in kept[1:] for part in message["content"]] == ["text", "reasoning"]
        await job.call(0, "weather", "{}")
        await job.say("Three")
        await job.finish("tool_calls")
        told += await answer.content.read()
    events = parse_events(told.decode())
    lives = [
        (name.rpartition(".")[2], data["id"])
        for name, data in events
        if name in ("thread.message.created", "thread.message.completed")
    ]
    assert [name for name, _ in lives] == ["created", "completed"] * 3
    assert [id_ for _, id_ in lives[::2]] == [id_ for _, id_ in lives[1::2]]
    ended = [data["content"][0]["text"]["value"] for name, data in events if name == "thread.message.completed"]
    assert ended == ["One", "Two", "Three"]
    steps = [data["id"] for name, data in events if name == "thread.run.step.completed"]
    assert len(steps) == len(set(steps)) == 4
    whole = await openai_client.responses.retrieve(response.id)
    assert [item.type for item in whole.output] == ["message", "reasoning", "message", "function_call", "message"]
    assert [item.status for item in whole.output if item.type == "message"] == ["completed"] * 3


def run_path(response: Any) -> str:
    """The run that a response is."""
    thread_id = response.model_dump()["thread_id"]
    run_id = response.id.replace("resp_", "run_").partition(f"_{thread_id}")[0]
    return f"/v1/threads/{thread_id}/runs/{run_id}"


async def until_told(answer: ClientResponse, words: bytes) -> bytes:
    """A stream up to some words."""
    told = b""
    while words not in told:
        told += await answer.content.readany()
    return told


async def test_a_responses_run_is_followed_without_its_thoughts(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    first, _ = await asyncio.gather(openai_client.responses.create(model=MODEL_ID, input="Hi"), think_and_say(worker))
    async with gateway.client.get(f"{run_path(first)}?stream=true") as answer:
        told = await answer.text()
    assert "Hello" in told
    assert "response.reasoning" not in told
