"""Stored responses: created, read, continued, branched, deleted; what is kept of them and where."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from openai import AsyncOpenAI, NotFoundError
from openai.types.responses import Response

from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.client import refusal


async def respond(client: AsyncOpenAI, worker: ScriptedWorker, *words: str, **fields: Any) -> tuple[Response, Any]:
    """A whole response, and what the engine was sent for it."""
    asking = asyncio.create_task(client.responses.create(**{"model": MODEL_ID, "input": "Hi", **fields}))
    job = await worker.answer(words or ("Hello", " there"))
    return await asking, job.body


async def thread_texts(gateway: Gateway, response: Any) -> list[tuple[str, str]]:
    """The thread that holds a response's turn, as the Assistants API reads it."""
    page = await gateway.json("GET", f"/v1/threads/{response.thread_id}/messages?order=asc")
    return [(one["role"], one["content"][0]["text"]["value"]) for one in page["data"]]


async def test_a_response_is_a_turn_of_a_thread(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    response, body = await respond(
        openai_client, worker, instructions="Be brief.", temperature=0.5, max_output_tokens=64, metadata={"a": "b"}
    )
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert (body["temperature"], body["max_tokens"]) == (0.5, 64)
    assert (response.status, response.output_text, response.error) == ("completed", "Hello there", None)
    assert (response.instructions, response.metadata, response.max_output_tokens) == ("Be brief.", {"a": "b"}, 64)
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (7, 3, 10)
    [message] = response.output
    assert message.type == "message"
    assert (message.role, message.status) == ("assistant", "completed")
    assert await openai_client.responses.retrieve(response.id) == response
    assert await thread_texts(gateway, response) == [("user", "Hi"), ("assistant", "Hello there")]
    items = await openai_client.responses.input_items.list(response.id)
    assert [item.model_dump()["content"][0]["text"] for item in items.data] == ["Hi"]


async def test_the_record_stands_in_a_plain_file(
    storage_server: StorageServer, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    response, _ = await respond(openai_client, worker)
    folder = storage_server.janroot / "threads" / str(response.model_dump()["thread_id"])
    records = [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]
    runs = [record for record in records if record["object"] == "thread.run"]
    assert runs[-1]["status"] == "completed"
    assert runs[-1]["response"]["told_back"]["text"] == {"format": {"type": "text"}, "verbosity": "medium"}


async def test_the_next_response_stands_in_the_same_thread(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    first, _ = await respond(openai_client, worker, "One", instructions="Be brief.")
    second, body = await respond(openai_client, worker, "Two", input="And?", previous_response_id=first.id)
    # Instructions are not carried over.
    assert [(one["role"], one["content"]) for one in body["messages"]] == [
        ("user", "Hi"),
        ("assistant", "One"),
        ("user", "And?"),
    ]
    assert second.previous_response_id == first.id
    assert second.model_dump()["thread_id"] == first.model_dump()["thread_id"]
    assert len(await thread_texts(gateway, second)) == 4


async def test_a_second_answer_to_one_response_is_a_branch(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    first, _ = await respond(openai_client, worker, "One")
    await respond(openai_client, worker, "Two", input="And?", previous_response_id=first.id)
    other, body = await respond(openai_client, worker, "Three", input="Or?", previous_response_id=first.id)
    assert [one["content"] for one in body["messages"]] == ["Hi", "One", "Or?"]
    assert other.model_dump()["thread_id"] != first.model_dump()["thread_id"]
    assert [text for _, text in await thread_texts(gateway, other)] == ["Hi", "One", "Or?", "Three"]


async def test_items_of_every_role_are_sent_and_kept(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    sent: list[Any] = [
        {"role": "developer", "content": "Rhyme."},
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Ho", "annotations": []}]},
        {"role": "user", "content": "Again"},
    ]
    response, body = await respond(openai_client, worker, input=sent)
    assert [(one["role"], one["content"]) for one in body["messages"]] == [
        ("system", "Rhyme."),
        ("user", "Hi"),
        ("assistant", "Ho"),
        ("user", "Again"),
    ]
    page = await openai_client.responses.input_items.list(response.id, order="asc", limit=3)
    kinds = [item.model_dump()["content"][0]["type"] for item in page.data]
    assert kinds == ["input_text", "input_text", "output_text"]
    assert page.has_more
    rest = await page.get_next_page()
    assert [item.model_dump()["content"][0]["text"] for item in rest.data] == ["Again"]


async def test_an_answer_that_was_cut_is_incomplete(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    asking = asyncio.create_task(openai_client.responses.create(model=MODEL_ID, input="Hi", max_output_tokens=16))
    job = await worker.take()
    await job.begin()
    await job.say("Hel")
    await job.finish("length")
    response = await asking
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert (response.output_text, response.output[0].model_dump()["status"]) == ("Hel", "incomplete")


async def test_text_is_shaped_by_its_format(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    text: Any = {"format": {"type": "json_schema", "name": "x", "schema": schema}}
    response, body = await respond(
        openai_client, worker, "{}", text=text, reasoning={"effort": "low", "summary": "auto"}
    )
    assert body["response_format"] == {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert body["reasoning_effort"] == "low"
    assert response.text is not None
    assert response.text.model_dump(by_alias=True, exclude_none=True)["format"]["schema"] == schema


async def test_a_deleted_response_takes_its_turn_along(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    first, _ = await respond(openai_client, worker, "One")
    second, _ = await respond(openai_client, worker, "Two", input="And?", previous_response_id=first.id)
    await openai_client.responses.delete(second.id)
    with pytest.raises(NotFoundError):
        await openai_client.responses.retrieve(second.id)
    with pytest.raises(NotFoundError):
        await openai_client.responses.delete(second.id)
    assert await thread_texts(gateway, first) == [("user", "Hi"), ("assistant", "One")]
    await openai_client.responses.delete(first.id)
    assert (await gateway.json("GET", "/v1/threads"))["data"] == []


async def test_nothing_is_kept_of_a_response_that_is_not_to_be_stored(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    first, _ = await respond(openai_client, worker, "One")
    response, body = await respond(
        openai_client, worker, "Two", input="And?", previous_response_id=first.id, store=False
    )
    assert [one["content"] for one in body["messages"]] == ["Hi", "One", "And?"]
    assert (response.status, response.output_text) == ("completed", "Two")
    assert response.usage is not None
    with pytest.raises(NotFoundError):
        await openai_client.responses.retrieve(response.id)
    assert len((await gateway.json("GET", "/v1/threads"))["data"]) == 1
    assert len(await thread_texts(gateway, first)) == 2


FUNCTION: Any = {"type": "function", "name": "f", "parameters": {"type": "object"}}
CALL: Any = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
FILE: Any = {"type": "input_file", "file_data": "aGVsbG8=", "filename": "a.txt"}


async def test_null_and_what_asks_for_nothing_new_are_as_if_left_out(
    worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    tool = FUNCTION | {"defer_loading": False, "allowed_callers": ["direct"], "output_schema": None}
    first, _ = await respond(
        openai_client, worker, tools=[tool], reasoning={"mode": "standard", "context": "auto"}, service_tier="fast"
    )
    assert first.service_tier == "priority"
    body = {"previous_response_id": first.id, "service_tier": "auto", "extra_body": {"input": None}}
    call = CALL | {"caller": {"type": "direct"}, "namespace": None, "status": "completed", "id": "fc_1"}
    second, _ = await respond(openai_client, worker, "Two", **body)
    assert (second.output_text, second.service_tier) == ("Two", "default")
    output = {"type": "function_call_output", "call_id": "c", "output": ""}
    third, asked = await respond(openai_client, worker, "Three", input=[call, output])
    assert third.service_tier is None
    assert [one["role"] for one in asked["messages"]] == ["assistant", "tool"]


async def test_an_input_that_was_taken_out_of_its_thread_is_not_listed(
    worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    inputs: Any = [{"role": "user", "content": text} for text in ("One", "Two")]
    response, _ = await respond(openai_client, worker, input=inputs)
    items = (await openai_client.responses.input_items.list(response.id, order="asc")).data
    conversation_id = f"conv_{response.model_dump()['thread_id']}"
    assert items[0].id is not None
    await openai_client.conversations.items.delete(items[0].id, conversation_id=conversation_id)
    assert (await openai_client.responses.input_items.list(response.id)).data == items[1:]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None, "previous_response_id": None}, "input"),
        ({"input": [{"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAAABp"}]}, "input[0]"),
        ({"input": [{"type": "compaction", "encrypted_content": "janroot.1.%%%"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "item_reference"}]}, "input[0].id"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "tools[0]"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"truncation": "some"}, "truncation"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"text": {"verbosity": "high"}}, "text.verbosity"),
        ({"reasoning": {"summary": "detailed"}}, "reasoning.summary"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"reasoning": {"context": "all_turns"}}, "reasoning.context"),
        ({"tools": [FUNCTION | {"defer_loading": True}]}, "tools[0].defer_loading"),
        (
            {"tools": [FUNCTION, FUNCTION | {"name": "other", "allowed_callers": ["programmatic"]}]},
            "tools[1].allowed_callers",
        ),
        ({"tools": [FUNCTION | {"output_schema": {}}]}, "tools[0].output_schema"),
        ({"input": [CALL | {"namespace": "the web"}]}, "input[0].namespace"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"input": [CALL | {"caller": {"type": "program", "caller_id": "p"}}]}, "input[0].caller.type"),
        ({"input": [{"role": "user", "content": [FILE | {"detail": "high"}]}]}, "input[0].content[0]"),
        ({"service_tier": "ultrafast"}, "service_tier"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"moderation": {"model": "x"}}, "moderation"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
        ({"store": False, "background": True}, "store"),
        ({"conversation": "conv_a", "previous_response_id": "resp_b"}, "previous_response_id"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"surprise": 1}, "surprise"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_by_name(gateway: Gateway, fields: dict[str, Any], param: str) -> None:
    body = {"model": MODEL_ID, "input": "Hi", **fields}
    sent = {name: value for name, value in body.items() if value is not None}
    status, error = await refusal(gateway.client, "POST", "/v1/responses", json=sent)
    assert (status, error["param"]) == (400, param)
    assert (await gateway.json("GET", "/v1/threads"))["data"] == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": "nobody"}, "model"),
        ({"conversation": "conv_../x"}, "conversation"),
        ({"conversation": {"id": "conv_none"}}, "conversation"),
    ],
)
async def test_what_is_not_there_is_not_found(gateway: Gateway, fields: dict[str, Any], param: str) -> None:
    body = {"model": MODEL_ID, "input": "Hi", **fields}
    status, error = await refusal(gateway.client, "POST", "/v1/responses", json=body)
    assert (status, error["param"]) == (404, param)


@pytest.mark.parametrize("response_id", ["resp_x", "resp_0123456789abcdef01234567_jan_1"])
async def test_a_missing_response_in_front_is_a_bad_request(gateway: Gateway, response_id: str) -> None:
    body = {"model": MODEL_ID, "input": "Hi", "previous_response_id": response_id}
    status, error = await refusal(gateway.client, "POST", "/v1/responses", json=body)
    assert (status, error["param"]) == (400, "previous_response_id")
    assert (error["type"], error["code"]) == ("invalid_request_error", "previous_response_not_found")


@pytest.mark.parametrize("path", ["resp_x", "resp_x/input_items", "run_1", "resp_..%2fx", "resp_1_jan_1"])
async def test_a_response_that_nobody_stored_is_not_found(gateway: Gateway, path: str) -> None:
    assert (await refusal(gateway.client, "GET", f"/v1/responses/{path}"))[0] == 404


async def test_a_run_is_no_response(gateway: Gateway, worker: ScriptedWorker) -> None:
    thread = await gateway.json("POST", "/v1/threads", {})
    run = await gateway.json("POST", f"/v1/threads/{thread['id']}/runs", {"assistant_id": "jan"})
    id_ = f"resp_{run['id'].removeprefix('run_')}_{thread['id']}"
    assert (await refusal(gateway.client, "GET", f"/v1/responses/{id_}"))[0] == 404
    await worker.answer()


async def test_only_what_the_prompt_depends_on_is_counted(gateway: Gateway) -> None:
    body = {"model": MODEL_ID, "input": "Hi", "temperature": 1}
    status, error = await refusal(gateway.client, "POST", "/v1/responses/input_tokens", json=body)
    assert (status, error["param"], error["code"]) == (400, "temperature", "unsupported_parameter")


async def test_a_personality_is_refused_by_name(gateway: Gateway) -> None:
    body = {"model": MODEL_ID, "input": "Hi", "personality": "friendly"}
    status, error = await refusal(gateway.client, "POST", "/v1/responses/input_tokens", json=body)
    assert (status, error["param"], error["code"]) == (400, "personality", "unsupported_parameter")


async def test_answers_say_how_many_more_may_wait(gateway: Gateway, worker: ScriptedWorker) -> None:
    for fields in ({"background": True}, {"stream": True}, {"store": False}):
        asking = asyncio.create_task(
            gateway.client.post("/v1/responses", json={"model": MODEL_ID, "input": "Hi", **fields})
        )
        await worker.answer()
        async with await asking as answer:
            assert answer.status == 200
            assert int(answer.headers["x-ratelimit-limit-requests"]) > 0
