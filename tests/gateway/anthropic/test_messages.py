"""POST /v1/messages through Anthropic's stock client: the events, the errors, and what reaches the engine."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from anthropic import AsyncAnthropic

from tests.fixtures.eyes import RED, data_url, png
from tests.fixtures.gateway import MODEL_ID, Gateway, write_model
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker

MESSAGES = "/v1/messages"
TOOL: Any = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}

FORMAT: Any = {"type": "json_schema", "schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}


def asked(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL_ID, "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}], **fields}


def begun(answer: Any) -> list[Any]:
    """A conversation that ends with what the client has written of the answer."""
    return [{"role": "user", "content": "a"}, {"role": "assistant", "content": answer}]


async def events_of(client: AsyncAnthropic, **fields: Any) -> list[Any]:
    return [event async for event in await client.messages.create(**asked(**fields), stream=True)]


async def test_a_whole_message(worker: ScriptedWorker, anthropic_client: AsyncAnthropic) -> None:
    asking = asyncio.create_task(anthropic_client.messages.create(**asked(system="Be brief.")))
    body = (await worker.answer()).body
    message = await asking
    assert (message.type, message.role, message.model) == ("message", "assistant", MODEL_ID)
    assert message.id.startswith("msg_")
    assert message._request_id is not None
    assert message._request_id.startswith("req_")
    assert [block.to_dict() for block in message.content] == [{"type": "text", "text": "Hello there"}]
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 3)
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert (body["max_tokens"], body["temperature"]) == (50, 0.3)
    assert "user" not in body


async def test_the_events_are_anthropics(
    gateway: Gateway, worker: ScriptedWorker, anthropic_client: AsyncAnthropic
) -> None:
    reading = asyncio.create_task(events_of(anthropic_client))
    await worker.answer()
    events = await reading
    kinds = ["message_start", "content_block_start", "content_block_delta", "content_block_delta"]
    assert [event.type for event in events] == [*kinds, "content_block_stop", "message_delta", "message_stop"]
    assert events[0].message.content == []
    assert events[0].message.stop_reason is None
    assert (events[-2].delta.stop_reason, events[-2].usage.input_tokens) == ("end_turn", 7)
    answering = asyncio.create_task(worker.answer())
    async with gateway.client.post(MESSAGES, json=asked(stream=True)) as answer:
        lines = (await answer.text()).split("\n")
    await answering
    assert [line for line in lines if line.startswith("event: ")][:3] == [
        "event: message_start",
        "event: content_block_start",
        "event: ping",
    ]
    assert "[DONE]" not in "".join(lines)


async def test_calls_are_streamed_one_after_the_other(worker: ScriptedWorker, anthropic_client: AsyncAnthropic) -> None:
    async def read() -> Any:
        choice: Any = {"type": "any", "disable_parallel_tool_use": True}
        async with anthropic_client.messages.stream(**asked(tools=[TOOL], tool_choice=choice)) as stream:
            return await stream.get_final_message()

    reading = asyncio.create_task(read())
    job = await worker.take()
    await job.begin()
    await job.say("Let me see.")
    await job.call(0, "weather", '{"city":')
    await job.call(1, "weather", '{"city": "Paris"}')
    await job._chunk({"tool_calls": [{"index": 0, "function": {"arguments": ' "Rome"}'}}]})
    await job.finish("tool_calls")
    message = await reading
    assert [block.type for block in message.content] == ["text", "tool_use", "tool_use"]
    assert [block.input for block in message.content[1:]] == [{"city": "Rome"}, {"city": "Paris"}]
    assert message.stop_reason == "tool_use"
    function = {"name": "weather", "description": "The weather of a city.", "parameters": TOOL["input_schema"]}
    assert job.body["tools"] == [{"type": "function", "function": function}]
    assert (job.body["tool_choice"], job.body["parallel_tool_calls"]) == ("required", False)


@pytest.mark.parametrize("told", [True, False])
async def test_thoughts_are_told_unless_they_shall_not_be(
    worker: ScriptedWorker, anthropic_client: AsyncAnthropic, told: bool
) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 1024, "display": "summarized" if told else "omitted"}
    reading = asyncio.create_task(events_of(anthropic_client, max_tokens=2000, thinking=thinking))
    job = await worker.take()
    await job.begin()
    await job._chunk({"reasoning_content": "Hm."})
    await job.say("Yes.")
    await job.finish("length")
    events = await reading
    begun = [event.content_block.type for event in events if event.type == "content_block_start"]
    assert begun == (["thinking", "text"] if told else ["text"])
    assert job.body["reasoning_effort"] == "low"
    # It ended long before `max_tokens`.
    assert events[-2].delta.stop_reason == "model_context_window_exceeded"


@pytest.mark.parametrize("stream", [True, False])
async def test_blocks_stand_as_they_were_begun(
    storage_server: StorageServer, worker: ScriptedWorker, anthropic_client: AsyncAnthropic, stream: bool
) -> None:
    write_model(storage_server.janroot, "local", engine="llamacpp", format="gguf", sources=[])

    async def read() -> Any:
        fields = asked(model="local", tools=[TOOL], stop_sequences=["maybe"])
        if not stream:
            return await anthropic_client.messages.create(**fields)
        async with anthropic_client.messages.stream(**fields) as reading:
            return await reading.get_final_message()

    async def answer() -> None:
        job = await worker.take()
        await job.begin()
        await job.think("Well")
        await job.say("It may")
        await job.think("Rome", "?")
        await job.call(0, "weather", '{"city":')
        await job.think("Or", " Oslo.")
        await job.call(1, "weather", '{"city": "Oslo"}')
        await job._chunk({"tool_calls": [{"index": 0, "function": {"arguments": ' "Rome"}'}}]})
        await job.say("Both", ".")
        await job.think("Done.")
        await job.finish("tool_calls")

    message, _ = await asyncio.gather(read(), answer())
    told = [
        (block.type, getattr(block, {"tool_use": "input"}.get(block.type, block.type))) for block in message.content
    ]
    assert told == [
        ("thinking", "Well"),
        ("text", "It may"),
        ("thinking", "Rome?"),
        ("tool_use", {"city": "Rome"}),
        ("thinking", "Or Oslo."),
        ("tool_use", {"city": "Oslo"}),
        ("text", "Both."),
        ("thinking", "Done."),
    ]
    assert message.stop_reason == "tool_use"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_stop_sequence_ends_the_answer_and_frees_its_slot(
    storage_server: StorageServer, worker: ScriptedWorker, anthropic_client: AsyncAnthropic, stream: bool
) -> None:
    write_model(storage_server.janroot, "local", engine="llamacpp", format="gguf", sources=[])

    async def read() -> Any:
        fields = asked(model="local", stop_sequences=["END", "STOP"], extra_body={"top_k": 4})
        if not stream:
            return await anthropic_client.messages.create(**fields)
        async with anthropic_client.messages.stream(**fields) as reading:
            return await reading.get_final_message()

    asking = asyncio.create_task(read())
    job = await worker.take()
    await job.begin()
    await job.say("One E", "N", "Dless STOP")
    await job.until_cancelled()
    message = await asking
    assert "stop" not in job.body
    assert job.body["top_k"] == 4
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")
    assert message.content[0].text == "One "


async def test_a_begun_answer_is_gone_on_with(gateway: Gateway, worker: ScriptedWorker) -> None:
    messages = [*begun("One"), *begun([{"type": "text", "text": "Tw"}, {"type": "thinking", "thinking": "Hm"}])]
    asking = asyncio.create_task(gateway.json("POST", MESSAGES, asked(messages=messages)))
    taken = await worker.answer(["o", "."])
    assert (await asking)["content"] == [{"type": "text", "text": "o."}]
    assert taken.job.prefill == "Tw"
    assert [one["content"] for one in taken.body["messages"]] == ["a", "One", "a"]
    asking = asyncio.create_task(gateway.json("POST", MESSAGES, asked(messages=begun(""))))
    taken = await worker.answer()
    await asking
    assert (taken.job.prefill, len(taken.body["messages"])) == ("", 1)


async def test_a_refusal_is_told_as_one(worker: ScriptedWorker, anthropic_client: AsyncAnthropic) -> None:
    async def answer() -> None:
        job = await worker.take()
        await job.begin()
        await job.finish("content_filter")

    message, _ = await asyncio.gather(anthropic_client.messages.create(**asked()), answer())
    assert message.stop_reason == "refusal"
    assert message.stop_details is not None
    assert (message.stop_details.type, message.stop_details.category) == ("refusal", None)


async def test_beta_clients_are_answered_too(worker: ScriptedWorker, anthropic_client: AsyncAnthropic) -> None:
    asking = asyncio.create_task(anthropic_client.beta.messages.create(**asked(betas=["x-2026-01-01"])))
    await worker.answer()
    message = await asking
    assert (message.stop_reason, message.stop_details, message.container) == ("end_turn", None, None)


@pytest.mark.parametrize("spelled", [{"output_format": FORMAT}, {"output_config": {"format": FORMAT}}])
async def test_an_answer_has_a_shape_under_either_name(
    gateway: Gateway, worker: ScriptedWorker, spelled: dict[str, Any]
) -> None:
    asking = asyncio.create_task(gateway.json("POST", MESSAGES, asked(**spelled)))
    body = (await worker.answer(['{"a":1}'])).body
    assert (await asking)["content"][0]["text"] == '{"a":1}'
    assert body["response_format"]["json_schema"]["schema"] == FORMAT["schema"]


async def test_blocks_of_an_answer_are_taken_back_as_the_client_has_them(
    worker: ScriptedWorker, anthropic_client: AsyncAnthropic
) -> None:
    async def call() -> None:
        job = await worker.take()
        await job.begin()
        await job.think("Rome?")
        await job.say("I look.")
        await job.call(0, "weather", '{"city":"Rome"}')
        await job.finish("tool_calls")

    first, _ = await asyncio.gather(anthropic_client.messages.create(**asked(tools=[TOOL])), call())
    said: Any = [block.model_dump() for block in first.content]
    results = [{"type": "tool_result", "tool_use_id": said[-1]["id"], "content": "Sunny."}]
    turns = [*asked()["messages"], {"role": "assistant", "content": said}, {"role": "user", "content": results}]
    asking = asyncio.create_task(anthropic_client.messages.create(**asked(messages=turns, tools=[TOOL])))
    body = (await worker.answer()).body
    assert (await asking).content[0].to_dict() == {"type": "text", "text": "Hello there"}
    assert [one["role"] for one in body["messages"]] == ["user", "assistant", "tool"]


async def test_a_remote_model_is_told_the_stop_sequences(
    worker: ScriptedWorker, anthropic_client: AsyncAnthropic
) -> None:
    asking = asyncio.create_task(anthropic_client.messages.create(**asked(stop_sequences=["END"])))
    assert (await worker.answer()).body["stop"] == ["END"]
    assert (await asking).stop_reason == "end_turn"


async def test_a_client_that_leaves_frees_its_slot(worker: ScriptedWorker, anthropic_client: AsyncAnthropic) -> None:
    reading = asyncio.create_task(events_of(anthropic_client))
    job = await worker.take()
    await job.begin()
    reading.cancel()
    await job.until_cancelled()


async def test_an_image_is_for_models_that_see(
    storage_server: StorageServer, gateway: Gateway, worker: ScriptedWorker
) -> None:
    write_model(storage_server.janroot, "blind", engine="llamacpp", format="gguf", sources=[])
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    body = asked(messages=[{"role": "user", "content": [image]}])
    answer = await gateway.json("POST", MESSAGES, body | {"model": "blind"}, status=400)
    assert "cannot see" in answer["error"]["message"]
    asking = asyncio.create_task(gateway.json("POST", MESSAGES, body))
    taken = await worker.answer()
    await asking
    part = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    assert taken.body["messages"][0]["content"] == [part]


async def test_a_model_with_eyes_is_shown_an_image(
    storage_server: StorageServer, gateway: Gateway, worker: ScriptedWorker
) -> None:
    settings = {"llama_model_path": "m.gguf"}
    write_model(storage_server.janroot, "seeing", engine="llamacpp", format="gguf", sources=[], settings=settings)
    for name in ("m.gguf", "mmproj-m-f16.gguf"):
        (storage_server.janroot / "models" / "seeing" / name).write_bytes(b"GGUF")
    data = data_url(png(RED)).partition("base64,")[2]
    source = {"type": "base64", "media_type": "image/png", "data": data}
    image: dict[str, Any] = {"type": "image", "source": source}
    body = asked(model="seeing", messages=[{"role": "user", "content": [image]}])
    asking = asyncio.create_task(gateway.json("POST", MESSAGES, body))
    taken = await worker.answer()
    assert (await asking)["content"][0]["text"] == "Hello there"
    assert taken.body["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    broken = image | {"source": source | {"data": "AAAA"}}
    answer = await gateway.json(
        "POST", MESSAGES, body | {"messages": [{"role": "user", "content": [broken]}]}, status=400
    )
    assert answer["error"]["message"].startswith("messages.0.content.0.source: ")


async def test_a_request_that_is_repeated_is_answered_once(gateway: Gateway, worker: ScriptedWorker) -> None:
    async def ask() -> Any:
        async with gateway.client.post(MESSAGES, json=asked(), headers={"Idempotency-Key": "one"}) as answer:
            assert answer.status == 200
            return await answer.json()

    asking = asyncio.create_task(ask())
    await worker.answer()
    first = await asking
    assert await ask() == first


async def test_the_person_of_the_metadata_is_the_tenant(gateway: Gateway, worker: ScriptedWorker) -> None:
    asking = asyncio.create_task(gateway.json("POST", MESSAGES, asked(metadata={"user_id": "ann"})))
    assert (await worker.answer()).job.tenant == "user:ann"
    await asking
