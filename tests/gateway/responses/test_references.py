"""References to items (`item_reference`): what they name is said where they stand, whoever keeps it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.client import refusal
from tests.gateway.responses.test_responses import respond
from tests.gateway.responses.test_streams import TOOLS


def reference(item: Any) -> dict[str, Any]:
    return {"type": "item_reference", "id": item.id}


def said(body: Any) -> list[tuple[str, str | None]]:
    return [(one["role"], one["content"]) for one in body["messages"]]


@pytest.mark.parametrize("store", [True, False])
async def test_a_client_that_names_no_response_sends_references(
    worker: ScriptedWorker, openai_client: AsyncOpenAI, store: bool
) -> None:
    """As Vercel's AI SDK does: what the server has said goes by its id alone."""
    first, _ = await respond(openai_client, worker, "I am", " Tom.")
    asked: list[Any] = [{"role": "user", "content": "Hi"}, reference(first.output[0])]
    asked.append({"role": "user", "content": "Who?"})
    second, body = await respond(openai_client, worker, input=asked, store=store)
    assert said(body) == [("user", "Hi"), ("assistant", "I am Tom."), ("user", "Who?")]
    if store:
        items = (await openai_client.responses.input_items.list(second.id, order="asc")).data
        assert items[1] == first.output[0]
        await openai_client.responses.delete(second.id)
        assert (await openai_client.responses.retrieve(first.id)).output == first.output


async def test_a_call_is_answered_by_reference(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    async def call() -> None:
        job = await worker.take()
        await job.begin()
        await job.think("Rome?")
        await job.call(0, "weather", "{}")
        await job.finish("tool_calls")

    asking = openai_client.responses.create(model=MODEL_ID, input="Weather?", tools=TOOLS)
    first, _ = await asyncio.gather(asking, call())
    thought, called = first.output
    assert called.type == "function_call"
    output = {"type": "function_call_output", "call_id": called.call_id, "output": "Sunny."}
    question: Any = {"role": "user", "content": "Weather?"}
    asked: list[Any] = [question, reference(thought), {"id": called.id}, output]
    _, body = await respond(openai_client, worker, input=asked, tools=TOOLS)
    assert said(body) == [("user", "Weather?"), ("assistant", None), ("tool", "Sunny.")]


async def test_what_stands_in_front_is_said_once(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    first, _ = await respond(openai_client, worker)
    again: list[Any] = [reference(first.output[0]), {"role": "user", "content": "Sure?"}]
    second, body = await respond(openai_client, worker, input=again, previous_response_id=first.id)
    assert said(body) == [("user", "Hi"), ("assistant", "Hello there"), ("user", "Sure?")]
    branched, body = await respond(openai_client, worker, input=again, previous_response_id=first.id)
    assert said(body) == [("user", "Hi"), ("assistant", "Hello there"), ("user", "Sure?")]
    twice: list[Any] = [reference(second.output[0]), *again, reference(branched.output[0]), reference(first.output[0])]
    _, body = await respond(openai_client, worker, input=twice)
    assert [role for role, _ in said(body)] == ["assistant", "assistant", "user", "assistant"]


async def test_in_conversations(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    first, _ = await respond(openai_client, worker)
    made: Any = [reference(first.output[0])]
    conversation = await openai_client.conversations.create(items=made)
    [item] = (await openai_client.conversations.items.list(conversation.id)).data
    assert (item.id, item.type) == (first.output[0].id, "message")
    added = await openai_client.conversations.items.create(
        conversation.id, items=[*made, {"role": "user", "content": "And?"}]
    )
    assert [item.model_dump()["role"] for item in added.data] == ["assistant", "user"]
    assert added.data[0] == item
    _, body = await respond(openai_client, worker, input=made, conversation=conversation.id)
    assert said(body) == [("assistant", "Hello there"), ("user", "And?")]


@pytest.mark.parametrize(
    "unknown", ["msg_1", "../x", "\u00e4", "msg_0123456789abcdef01234567_jan_1", "msg_0123456789abcdef01234567_.."]
)
async def test_what_nobody_keeps_is_not_found(gateway: Gateway, openai_client: AsyncOpenAI, unknown: str) -> None:
    conversation = await openai_client.conversations.create()
    items = [{"role": "user", "content": "Hi"}, {"type": "item_reference", "id": unknown}]
    asked: list[tuple[str, dict[str, Any], str]] = [
        ("responses", {"model": MODEL_ID, "input": items}, "input"),
        ("responses", {"model": MODEL_ID, "input": items, "conversation": conversation.id}, "input"),
        ("responses/input_tokens", {"model": MODEL_ID, "input": items}, "input"),
        ("responses/compact", {"model": MODEL_ID, "input": items}, "input"),
        ("conversations", {"items": items}, "items"),
        (f"conversations/{conversation.id}/items", {"items": items}, "items"),
    ]
    for path, body, field in asked:
        status, error = await refusal(gateway.client, "POST", f"/v1/{path}", json=body)
        assert (status, error["param"]) == (404, f"{field}[1].id")
        assert error["message"].startswith("Item with id '")
    assert len((await gateway.json("GET", "/v1/threads"))["data"]) == 1
    assert (await openai_client.conversations.items.list(conversation.id)).data == []


async def test_an_upload_that_is_not_there_is_named(gateway: Gateway, openai_client: AsyncOpenAI) -> None:
    conversation = await openai_client.conversations.create()
    image = [{"type": "input_text", "text": "Who?"}, {"type": "input_image", "file_id": "file-none"}]
    items = [{"role": "user", "content": "Hi"}, {"role": "user", "content": image}]
    for path in ("conversations", f"conversations/{conversation.id}/items"):
        status, error = await refusal(gateway.client, "POST", f"/v1/{path}", json={"items": items})
        assert (status, error["param"]) == (404, "items[1].content[1].file_id")
    assert len((await gateway.json("GET", "/v1/threads"))["data"]) == 1
    assert (await openai_client.conversations.items.list(conversation.id)).data == []
