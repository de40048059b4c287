"""Conversations: threads in other words, whichever API made them."""

from __future__ import annotations

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError

from tests.fixtures.gateway import Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.responses.test_responses import respond
from tests.gateway.routes.test_runs import new_thread, start, until_ended


async def test_a_conversation_is_made_read_changed_and_deleted(openai_client: AsyncOpenAI) -> None:
    made = await openai_client.conversations.create(
        metadata={"a": "b"}, items=[{"type": "message", "role": "user", "content": "Hi"}]
    )
    assert made.id.startswith("conv_")
    assert (made.object, made.metadata) == ("conversation", {"a": "b"})
    assert await openai_client.conversations.retrieve(made.id) == made
    changed = await openai_client.conversations.update(made.id, metadata={"c": "d"})
    assert changed.metadata == {"c": "d"}
    assert (await openai_client.conversations.delete(made.id)).deleted
    with pytest.raises(NotFoundError, match=f"Conversation with id '{made.id}' not found"):
        await openai_client.conversations.retrieve(made.id)


async def test_items_are_appended_listed_read_and_removed(openai_client: AsyncOpenAI) -> None:
    conversation = await openai_client.conversations.create()
    added = await openai_client.conversations.items.create(
        conversation.id,
        items=[
            {"type": "message", "role": "user", "content": "Weather?"},
            {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "Sunny."},
        ],
    )
    assert [item.type for item in added.data] == ["message", "function_call", "function_call_output"]
    page = await openai_client.conversations.items.list(conversation.id, limit=2)
    assert page.has_more
    assert [item async for item in page] == added.data[::-1]
    first = added.data[0]
    assert first.id is not None
    assert await openai_client.conversations.items.retrieve(first.id, conversation_id=conversation.id) == first
    await openai_client.conversations.items.delete(first.id, conversation_id=conversation.id)
    with pytest.raises(NotFoundError, match=f"Item with id '{first.id}' not found"):
        await openai_client.conversations.items.retrieve(first.id, conversation_id=conversation.id)


async def test_responses_add_to_the_conversation_that_they_name(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    conversation = await openai_client.conversations.create(
        items=[{"type": "message", "role": "user", "content": "I am Ada."}]
    )
    response, body = await respond(openai_client, worker, "Ada.", input="Who am I?", conversation=conversation.id)
    assert [one["content"] for one in body["messages"]] == ["I am Ada.", "Who am I?"]
    assert response.conversation is not None
    assert response.conversation.id == conversation.id
    items = (await openai_client.conversations.items.list(conversation.id, order="asc")).data
    assert [item.model_dump()["content"][0]["text"] for item in items] == ["I am Ada.", "Who am I?", "Ada."]
    # A conversation grows by those who name it, so what follows a response of it by id alone stands elsewhere.
    other, body = await respond(openai_client, worker, "Yes.", input="Sure?", previous_response_id=response.id)
    assert [one["content"] for one in body["messages"]] == ["I am Ada.", "Who am I?", "Ada.", "Sure?"]
    assert other.conversation is None
    await openai_client.responses.delete(response.id)
    assert len((await openai_client.conversations.items.list(conversation.id)).data) == 3


async def test_a_thread_of_the_assistants_api_is_a_conversation_and_the_other_way_round(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    thread_id = await new_thread(gateway, "I am Ada.")
    run = await start(gateway, thread_id)
    await worker.answer(["Hello", " Ada"])
    await until_ended(gateway, run)
    items = (await openai_client.conversations.items.list(f"conv_{thread_id}", order="asc")).data
    told = [(item.model_dump()["role"], item.model_dump()["content"][0]["type"]) for item in items]
    assert told == [("user", "input_text"), ("assistant", "output_text")]
    _, body = await respond(openai_client, worker, "Ada.", input="Who am I?", conversation=f"conv_{thread_id}")
    assert [one["content"] for one in body["messages"]] == ["I am Ada.", "Hello Ada", "Who am I?"]

    await start(gateway, thread_id, additional_messages=[{"role": "user", "content": "Sure?"}])
    job = await worker.answer()
    told_again = [one["content"] for one in job.body["messages"] if one["role"] != "system"]
    assert told_again == ["I am Ada.", "Hello Ada", "Who am I?", "Ada.", "Sure?"]


async def test_a_conversation_takes_one_response_at_a_time(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    conversation = await openai_client.conversations.create()
    active = await openai_client.responses.create(
        model="scripted", input="Hi", conversation=conversation.id, background=True
    )
    with pytest.raises(BadRequestError):
        await openai_client.responses.create(model="scripted", input="Ho", conversation=conversation.id)
    with pytest.raises(BadRequestError):
        await openai_client.conversations.items.create(
            conversation.id, items=[{"type": "message", "role": "user", "content": "Ho"}]
        )
    with pytest.raises(BadRequestError):
        await openai_client.responses.create(model="scripted", input="Ho", previous_response_id=active.id)
    await worker.answer()
