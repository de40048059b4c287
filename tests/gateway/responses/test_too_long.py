"""An input that its model has no room for is refused, as OpenAI does, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError

from jan.errors import InvalidArgumentError
from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.responses.test_responses import respond, thread_texts
from tests.gateway.responses.test_streams import events_of, until_status

TOO_LONG = InvalidArgumentError("Too long.", code="context_length_exceeded", param="messages")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, the refusal is waited for."""
    monkeypatch.setattr("gateway.responses.stream.PATIENCE_SECONDS", 60.0)


async def refused(client: AsyncOpenAI, worker: ScriptedWorker, **fields: Any) -> None:
    """The model refuses an input, and the client hears it as a status."""
    asking = asyncio.create_task(client.responses.create(**{"model": MODEL_ID, "input": "Hi", **fields}))
    await (await worker.take()).fail(TOO_LONG)
    with pytest.raises(BadRequestError) as caught:
        await asking
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input")
    assert "Too long." in caught.value.message


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("store", [True, False])
async def test_it_is_a_status(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI, stream: bool, store: bool
) -> None:
    await refused(openai_client, worker, stream=stream, store=store)
    assert (await gateway.json("GET", "/v1/threads"))["data"] == []


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("store", [True, False])
async def test_a_schema_that_does_not_bind_is_one_too(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI, stream: bool, store: bool
) -> None:
    asking = asyncio.create_task(openai_client.responses.create(model=MODEL_ID, input="Hi", store=store, stream=stream))
    unbound = InvalidArgumentError("No.", code="unsupported_schema", param="tools[1].function.parameters")
    await (await worker.take()).fail(unbound)
    with pytest.raises(BadRequestError) as caught:
        await asking
    assert (caught.value.code, caught.value.param) == ("unsupported_schema", "tools[1].parameters")
    assert (await gateway.json("GET", "/v1/threads"))["data"] == []


@pytest.mark.parametrize("stream", [True, False])
async def test_whatever_an_engine_says_of_its_messages_is_said_of_the_input(
    worker: ScriptedWorker, openai_client: AsyncOpenAI, stream: bool
) -> None:
    asking = asyncio.create_task(openai_client.responses.create(model=MODEL_ID, input="Hi", store=False, stream=stream))
    blind = InvalidArgumentError("I see nothing.", code="unsupported_content", param="messages[0].content[1]")
    await (await worker.take()).fail(blind)
    with pytest.raises(BadRequestError) as caught:
        await asking
    assert (caught.value.code, caught.value.param) == ("unsupported_content", "input")


@pytest.mark.parametrize("stream", [True, False])
async def test_what_was_there_before_stays_as_it_was(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI, stream: bool
) -> None:
    first, _ = await respond(openai_client, worker)
    before = await thread_texts(gateway, first)
    await refused(openai_client, worker, previous_response_id=first.id, stream=stream)
    assert await thread_texts(gateway, first) == before
    second, _ = await respond(openai_client, worker, previous_response_id=first.id)
    assert second.thread_id == first.thread_id  # type: ignore[attr-defined]


async def test_a_conversation_does_not_keep_it(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    conversation = await openai_client.conversations.create()
    await refused(openai_client, worker, conversation=conversation.id)
    assert (await openai_client.conversations.items.list(conversation.id)).data == []


async def test_a_repetition_is_refused_too(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    conversation = await openai_client.conversations.create()
    same: dict[str, Any] = {"conversation": conversation.id, "extra_headers": {"Idempotency-Key": "one"}}
    await refused(openai_client, worker, **same)
    with pytest.raises(BadRequestError):
        await openai_client.responses.create(model=MODEL_ID, input="Hi", **same)


async def test_one_in_the_background_was_accepted_and_has_failed(
    worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    response = await openai_client.responses.create(model=MODEL_ID, input="Hi", background=True)
    await (await worker.take()).fail(TOO_LONG)
    response = await until_status(openai_client, response, "failed")
    assert response.error is not None
    assert (response.error.code, response.error.message) == ("invalid_prompt", "Too long.")


async def test_a_stream_that_has_begun_ends_as_failed(
    worker: ScriptedWorker, openai_client: AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not known in time, so the response stays, and says why."""
    monkeypatch.setattr("gateway.responses.stream.PATIENCE_SECONDS", 0.0)
    stream = await openai_client.responses.create(model=MODEL_ID, input="Hi", stream=True)
    await (await worker.take()).fail(TOO_LONG)
    *_, ended = [event async for event in stream]
    assert ended.type == "response.failed"
    kept = await openai_client.responses.retrieve(ended.response.id)
    assert (kept.status, kept.error and kept.error.code) == ("failed", "invalid_prompt")
    await openai_client.responses.delete(kept.id)
    with pytest.raises(NotFoundError):
        await openai_client.responses.retrieve(kept.id)


async def test_an_answer_is_waited_for_once(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    """What is heard before the first byte is told as if it had not been waited for."""
    events, _ = await asyncio.gather(events_of(openai_client), worker.answer(["Hello", " there"]))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.output_text == "Hello there"
