"""Streamed responses: OpenAI's events in OpenAI's order, from any place; in the background; stopped."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import APIStatusError, AsyncOpenAI, BadRequestError, omit

from jan.errors import UnavailableError
from jan.type.v1.usage_pb2 import Usage
from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.responses.test_responses import respond
from tests.gateway.routes.test_runs import parse_events

TEXT_EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]
CALL_EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
    "response.completed",
]
TOOLS: list[Any] = [
    {
        "type": "function",
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        "strict": False,
    }
]


async def events_of(client: AsyncOpenAI, **fields: Any) -> list[Any]:
    stream = await client.responses.create(**{"model": MODEL_ID, "input": "Hi", "stream": True, **fields})
    return [event async for event in stream]


async def until_status(client: AsyncOpenAI, response: Any, *statuses: str) -> Any:
    while response.status not in statuses:
        response = await client.responses.retrieve(response.id)
    return response


async def call_weather(worker: ScriptedWorker) -> Any:
    job = await worker.take()
    await job.begin()
    await job.call(0, "weather", '{"city":', ' "Rome"}')
    await job.finish("tool_calls")
    return job.body


@pytest.mark.parametrize("store", [True, False])
async def test_the_events_are_openais(worker: ScriptedWorker, openai_client: AsyncOpenAI, store: bool) -> None:
    reading = asyncio.create_task(events_of(openai_client, store=store))
    await worker.answer()
    events = await reading
    assert [event.type for event in events] == TEXT_EVENTS
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.delta for event in events if event.type == "response.output_text.delta"] == ["Hello", " there"]
    created, completed = events[0].response, events[-1].response
    assert (created.status, created.output, created.usage) == ("in_progress", [], None)
    assert (completed.id, completed.status, completed.output_text) == (created.id, "completed", "Hello there")
    assert events[2].item.content == []
    assert events[6].text == events[7].part.text == events[8].item.content[0].text == "Hello there"
    assert completed.output == [events[8].item]
    if store:
        assert await openai_client.responses.retrieve(created.id) == completed


@pytest.mark.parametrize("store", [True, False])
async def test_a_call_is_streamed_and_answered_by_the_next_response(
    worker: ScriptedWorker, openai_client: AsyncOpenAI, store: bool
) -> None:
    reading = asyncio.create_task(events_of(openai_client, store=store, tools=TOOLS, tool_choice="required"))
    body = await call_weather(worker)
    events = await reading
    assert [tool["function"]["name"] for tool in body["tools"]] == ["weather"]
    assert body["tool_choice"] == "required"
    assert [event.type for event in events] == CALL_EVENTS
    assert (events[2].item.name, events[2].item.arguments) == ("weather", "")
    response = events[-1].response
    [call] = response.output
    assert call == events[6].item
    assert (call.type, call.name, call.arguments) == ("function_call", "weather", '{"city": "Rome"}')
    assert (call.status, response.status) == ("completed", "completed")
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."}
    if store:
        fields: Any = {"previous_response_id": response.id, "input": [output]}
    else:
        sent = {name: getattr(call, name) for name in ("type", "call_id", "name", "arguments")}
        fields = {"input": [{"role": "user", "content": "Hi"}, sent, output], "store": False}
    after, body = await respond(openai_client, worker, "It is sunny.", tools=TOOLS, **fields)
    told = {"name": "weather", "arguments": '{"city": "Rome"}'}
    assert body["messages"] == [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": call.call_id, "type": "function", "function": told}],
        },
        {"role": "tool", "tool_call_id": call.call_id, "content": "Sunny."},
    ]
    assert after.output_text == "It is sunny."


async def test_a_text_in_front_of_calls_is_done_before_them(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    reading = asyncio.create_task(events_of(openai_client, tools=TOOLS))
    job = await worker.take()
    await job.begin()
    await job.say("Let me see.")
    await job.call(0, "weather", "{}")
    await job.call(1, "weather", "{}")
    await job.finish("tool_calls")
    events = await reading
    done = [event for event in events if event.type == "response.output_item.done"]
    assert [event.output_index for event in done] == [0, 1, 2]
    assert [event.item for event in done] == events[-1].response.output
    added = [index for index, event in enumerate(events) if event.type == "response.output_item.added"]
    assert events[added[1] - 1].type == "response.output_item.done"


async def test_a_stream_is_taken_up_behind_any_event(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    reading = asyncio.create_task(events_of(openai_client, background=True))
    await worker.answer()
    whole = await reading
    assert [event.type for event in whole][:3] == ["response.created", "response.queued", "response.in_progress"]
    id_ = whole[0].response.id
    for after in range(-1, len(whole)):
        place = omit if after < 0 else after
        stream = await openai_client.responses.retrieve(id_, stream=True, starting_after=place)
        assert [event async for event in stream] == whole[after + 1 :]
    async with gateway.client.get(f"/v1/responses/{id_}?stream=true&starting_after=x") as answer:
        assert answer.status == 400


async def test_a_response_in_the_background_is_polled(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    response = await openai_client.responses.create(model=MODEL_ID, input="Hi", background=True)
    assert (response.status, response.background, response.output) == ("queued", True, [])
    job = await worker.take()
    await job.begin()
    await job.say("Hello")
    await until_status(openai_client, response, "in_progress")
    await job.finish()
    response = await until_status(openai_client, response, "completed")
    assert response.output_text == "Hello"
    with pytest.raises(BadRequestError):
        await openai_client.responses.cancel(response.id)


async def test_a_cancelled_response_keeps_what_was_said(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    response = await openai_client.responses.create(model=MODEL_ID, input="Hi", background=True)
    job = await worker.take()
    await job.begin()
    await job.say("Hel")
    with pytest.raises(BadRequestError):
        await openai_client.responses.delete(response.id)
    await until_status(openai_client, response, "in_progress")
    cancelling = asyncio.create_task(openai_client.responses.cancel(response.id))
    await job.until_cancelled(Usage(prompt_tokens=40, completion_tokens=2))
    cancelled = await cancelling
    assert (cancelled.status, cancelled.output_text) == ("cancelled", "Hel")
    assert cancelled.usage is not None
    assert (cancelled.usage.input_tokens, cancelled.usage.output_tokens) == (40, 2)
    assert await openai_client.responses.cancel(response.id) == cancelled


async def test_a_response_goes_on_without_its_reader(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    stream = await openai_client.responses.create(model=MODEL_ID, input="Hi", stream=True)
    created: Any = await anext(aiter(stream))
    await stream.close()
    await worker.answer()
    response = await until_status(openai_client, created.response, "completed")
    assert response.output_text == "Hello there"


async def test_a_broken_answer_is_a_failed_response(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    reading = asyncio.create_task(events_of(openai_client))
    job = await worker.take()
    await job.begin()
    await job.say("Hel")
    await job.fail(UnavailableError("The engine broke."))
    events = await reading
    response = events[-1].response
    assert (events[-1].type, response.status, response.output_text) == ("response.failed", "failed", "Hel")
    assert response.error is not None
    assert (response.error.code, response.error.message) == ("server_error", "The engine broke.")
    assert await openai_client.responses.retrieve(response.id) == response


async def test_an_unstored_answer_that_breaks_before_its_first_word_is_a_status(
    worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    reading = asyncio.create_task(events_of(openai_client, store=False))
    await (await worker.take()).fail(UnavailableError("The engine broke."))
    with pytest.raises(APIStatusError) as caught:
        await reading
    assert caught.value.status_code == 503


async def test_a_request_that_is_repeated_makes_one_response(gateway: Gateway, worker: ScriptedWorker) -> None:
    async def ask() -> list[Any]:
        body = {"model": MODEL_ID, "input": "Hi", "stream": True}
        headers = {"Idempotency-Key": "one"}
        async with gateway.client.post("/v1/responses", json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return parse_events(await answer.text())

    asking = asyncio.create_task(ask())
    await worker.answer()
    events = await asking
    assert await ask() == events
    assert len((await gateway.json("GET", "/v1/threads"))["data"]) == 1
