"""Calls and their outputs: one without the other is refused in OpenAI's words, and nobody gets stuck by that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError
from openai.types.responses import Response

from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.client import refusal
from tests.gateway.responses.test_responses import CALL, FUNCTION, respond

HI: Any = {"role": "user", "content": "Hi"}
OUTPUT: Any = {"type": "function_call_output", "call_id": "c", "output": "42"}
NO_CALL = "No tool call found for function call output with call_id c."
NO_OUTPUT = "No tool output found for function call c."


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([HI, OUTPUT], NO_CALL),
        ([HI, OUTPUT, CALL], NO_CALL),
        ([HI, CALL], NO_OUTPUT),
        ([CALL, HI], NO_OUTPUT),
        ([HI, CALL | {"call_id": "b"}, CALL, OUTPUT | {"call_id": "b"}], NO_OUTPUT),
        ([HI, CALL, OUTPUT, CALL], NO_OUTPUT),
    ],
)
@pytest.mark.parametrize("store", [True, False])
async def test_an_input_that_tears_them_apart_is_refused(
    gateway: Gateway, items: list[Any], message: str, store: bool
) -> None:
    body = {"model": MODEL_ID, "input": items, "store": store}
    status, error = await refusal(gateway.client, "POST", "/v1/responses", json=body)
    assert (status, error["message"], error["param"], error["code"]) == (400, message, "input", None)
    assert (await gateway.json("GET", "/v1/threads"))["data"] == []


async def called(client: AsyncOpenAI, worker: ScriptedWorker, reason: str = "tool_calls", **fields: Any) -> Response:
    """A response that calls the function, and ends."""
    asked = {"model": MODEL_ID, "input": "Hi", "tools": [FUNCTION], **fields}
    asking: asyncio.Task[Response] = asyncio.create_task(client.responses.create(**asked))
    job = await worker.take()
    await job.begin()
    await job.call(0, "f", "{}")
    await job.finish(reason)
    return await asking


def call_id(response: Response) -> str:
    [call] = response.output
    assert call.type == "function_call"
    return call.call_id


@pytest.mark.parametrize("in_conversation", [True, False])
async def test_the_call_in_front_waits_for_its_output(
    worker: ScriptedWorker, openai_client: AsyncOpenAI, in_conversation: bool
) -> None:
    place: dict[str, Any] = {"conversation": (await openai_client.conversations.create()).id} if in_conversation else {}
    first = await called(openai_client, worker, **place)
    place = place or {"previous_response_id": first.id}
    with pytest.raises(BadRequestError, match=f"No tool output found for function call {call_id(first)}") as refused:
        await openai_client.responses.create(model=MODEL_ID, input="Well?", **place)
    assert (refused.value.param, refused.value.code) == ("input", None)
    answer = OUTPUT | {"call_id": call_id(first)}
    after, body = await respond(openai_client, worker, "Done", input=[answer, HI], **place)
    assert [one["role"] for one in body["messages"]] == ["user", "assistant", "tool", "user"]
    assert after.output_text == "Done"


async def test_a_conversation_whose_call_is_taken_out_goes_on(
    worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    conversation_id = (await openai_client.conversations.create()).id
    first = await called(openai_client, worker, conversation=conversation_id)
    assert first.output[0].id is not None
    await openai_client.conversations.items.delete(first.output[0].id, conversation_id=conversation_id)
    after, body = await respond(openai_client, worker, "Done", conversation=conversation_id)
    assert [one["role"] for one in body["messages"]] == ["user", "user"]
    assert after.output_text == "Done"


async def test_nobody_waits_for_a_call_that_a_person_passed_over(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    conversation_id = (await openai_client.conversations.create()).id
    first = await called(openai_client, worker, conversation=conversation_id)
    thread_id = conversation_id.removeprefix("conv_")
    await gateway.json("POST", f"/v1/threads/{thread_id}/messages", {"role": "user", "content": "Never mind."})
    _, body = await respond(openai_client, worker, "Done", conversation=conversation_id)
    assert [one["content"] for one in body["messages"]] == ["Hi", "Never mind.", "Hi"]
    late = OUTPUT | {"call_id": call_id(first)}
    _, body = await respond(openai_client, worker, "Oh", input=[late], conversation=conversation_id)
    assert [one["role"] for one in body["messages"]] == ["user", "assistant", "user", "user", "assistant", "tool"]


async def test_nobody_waits_for_a_call_that_was_cut(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    first = await called(openai_client, worker, "length")
    assert first.status == "incomplete"
    after, body = await respond(openai_client, worker, "Done", previous_response_id=first.id)
    assert [one["role"] for one in body["messages"]] == ["user", "user"]
    assert after.output_text == "Done"
