"""A compaction: the model's own summary, which stands for what was said before when it is sent as input."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI

from gateway.schemas.compactions import MAX_SUMMARY_BYTES, pack, unpack
from jan.errors import InvalidArgumentError
from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.client import refusal
from tests.gateway.responses.test_responses import respond

SAID: list[Any] = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": "My cat is called Tom."},
    {"role": "assistant", "content": "Noted."},
    {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
    {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": "{}"},
    {"role": "user", "content": "And now?"},
]


def sent_back(compaction: Any) -> list[Any]:
    """The items as a client sends them on; the SDK knows messages of assistants alone there, OpenAI gives all."""
    return [item.model_dump(exclude_none=True, warnings=False) for item in compaction.output]


async def compact(client: AsyncOpenAI, worker: ScriptedWorker, summary: str, **fields: Any) -> tuple[Any, Any]:
    asking = asyncio.create_task(client.responses.compact(**{"model": MODEL_ID, "input": SAID, **fields}))
    job = await worker.answer([summary])
    return await asking, job.body


async def test_a_conversation_becomes_its_summary(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    compaction, body = await compact(openai_client, worker, " The cat is Tom. ", instructions="Speak of cats.")
    system, asked = body["messages"]
    assert system["content"].endswith("Speak of cats.")
    for said in ("USER: My cat is called Tom.", "ASSISTANT: Noted.", "ASSISTANT CALLS weather({})", "TOOL: sunny"):
        assert said in asked["content"]
    assert "And now?" not in asked["content"]
    assert body["max_tokens"] == 128
    assert (compaction.object, compaction.usage.total_tokens) == ("response.compaction", 10)
    kinds = [item.type for item in compaction.output]
    assert kinds == ["message", "compaction", "function_call", "message"]
    assert (await gateway.json("GET", "/v1/threads"))["data"] == []


@pytest.mark.parametrize("store", [True, False])
async def test_it_is_taken_as_input(worker: ScriptedWorker, openai_client: AsyncOpenAI, store: bool) -> None:
    compaction, _ = await compact(openai_client, worker, "The cat is Tom.")
    *kept, call, asked = sent_back(compaction)
    sent = [*kept, call, {"type": "function_call_output", "call_id": "c2", "output": "rainy"}, asked]
    response, body = await respond(openai_client, worker, input=sent, store=store)
    assert [(one["role"], one["content"]) for one in body["messages"]] == [
        ("system", "Be brief."),
        ("user", "Summary of the conversation up to here:\nThe cat is Tom."),
        ("assistant", None),
        ("tool", "rainy"),
        ("user", "And now?"),
    ]
    if store:
        items = await openai_client.responses.input_items.list(response.id, order="asc")
        assert items.data[1].model_dump()["encrypted_content"] == sent[1]["encrypted_content"]


async def test_a_response_and_a_compaction_are_compacted(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    compaction, _ = await compact(openai_client, worker, "The cat is Tom.", input=SAID[:3])
    sent = sent_back(compaction)
    first, _ = await respond(openai_client, worker, "Purr", input=[*sent, {"role": "user", "content": "Sound?"}])
    again, body = await compact(openai_client, worker, "Tom purrs.", input=[], previous_response_id=first.id)
    for said in ("The cat is Tom.", "USER: Sound?", "ASSISTANT: Purr"):
        assert said in body["messages"][1]["content"]
    assert [item.type for item in again.output] == ["message", "compaction"]


async def test_a_text_alone_is_compacted(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    story = "A long story. " * 1000
    compaction, body = await compact(openai_client, worker, "Short.", input=story)
    assert "USER: A long story." in body["messages"][1]["content"]
    assert body["max_tokens"] == 2048
    assert [item.type for item in compaction.output] == ["compaction"]


async def test_a_model_that_writes_nothing_or_fails(gateway: Gateway, worker: ScriptedWorker) -> None:
    async def post() -> tuple[int, Any]:
        async with gateway.client.post("/v1/responses/compact", json={"model": MODEL_ID, "input": "Hi"}) as answer:
            return answer.status, (await answer.json())["error"]["code"]

    (status, code), _ = await asyncio.gather(post(), worker.answer([" "]))
    assert (status, code) == (500, "empty_summary")

    async def fail() -> None:
        job = await worker.take()
        await job.fail(InvalidArgumentError("Too long.", code="context_length_exceeded"))

    (status, code), _ = await asyncio.gather(post(), fail())
    assert (status, code) == (400, "context_length_exceeded")


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"input": None}, 400, "input"),
        ({"input": [{"role": "system", "content": "Be brief."}]}, 400, "input"),
        ({"store": True}, 400, "store"),
        ({"model": "nobody"}, 404, "model"),
        ({"previous_response_id": "resp_none"}, 400, "previous_response_id"),
    ],
)
async def test_what_cannot_be_compacted(gateway: Gateway, fields: dict[str, Any], status: int, param: str) -> None:
    body = {"model": MODEL_ID, "input": "Hi", **fields}
    sent = {name: value for name, value in body.items() if value is not None}
    told, error = await refusal(gateway.client, "POST", "/v1/responses/compact", json=sent)
    assert (told, error["param"]) == (status, param)


async def test_advice_names_what_may_be_sent(gateway: Gateway) -> None:
    for path, wanted in (("/compact", False), ("/input_tokens", True), ("", True)):
        _, error = await refusal(gateway.client, "POST", f"/v1/responses{path}", json={"model": MODEL_ID})
        assert ("'conversation'" in error["message"]) is wanted


def test_what_an_item_carries() -> None:
    assert unpack(pack("Tom ☃")) == "Tom ☃"
    too_long = pack("x" * (MAX_SUMMARY_BYTES + 1))
    for wrong in ("", "gAAAAABp", "janroot.1.%", pack("a\0b"), pack("x")[:-1], "janroot.1._w==", too_long):
        assert unpack(wrong) is None
