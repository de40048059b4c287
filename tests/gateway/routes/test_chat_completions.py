"""POST /v1/chat/completions over a real queue, with a worker whose timing belongs to the test."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from jan.errors import InvalidArgumentError, ResourceExhaustedError, UnavailableError
from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker

CHAT = "/v1/chat/completions"
STRICT = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
DEEP: dict[str, Any] = {}
for _ in range(40):
    DEEP = {"properties": DEEP}


def tool_with(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", **fields}}


TOOL = tool_with()


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL_ID, "messages": [{"role": "user", "content": "Hi"}], **fields}


async def read_stream(gateway: Gateway, body: dict[str, Any]) -> list[str]:
    async with gateway.client.post(CHAT, json=body) as response:
        assert response.status == 200, await response.text()
        assert response.headers["Content-Type"].startswith("text/event-stream")
        return [line for line in (await response.text()).split("\n") if line]


async def test_a_whole_answer_is_relayed_as_the_worker_said_it(gateway: Gateway, worker: ScriptedWorker) -> None:
    answering = asyncio.create_task(worker.answer())
    answer = await gateway.json("POST", CHAT, chat())
    taken = await answering
    assert answer["choices"][0]["message"]["content"] == "Hello there"
    assert answer["id"] == taken.job.id
    assert taken.body == {
        "model": MODEL_ID,
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": False,
        "temperature": 0.3,
    }


async def test_tools_reach_the_engine_as_they_were_sent(gateway: Gateway, worker: ScriptedWorker) -> None:
    tool = tool_with(description="Tells.", parameters=STRICT, strict=True)
    named = {"type": "function", "function": {"name": "f"}}
    for choice in ("auto", "required", "none", named):
        answering = asyncio.create_task(worker.answer())
        await gateway.json("POST", CHAT, chat(tools=[tool], tool_choice=choice, parallel_tool_calls=False))
        body = (await answering).body
        assert (body["tools"], body["tool_choice"], body["parallel_tool_calls"]) == ([tool], choice, False)


async def test_a_choice_without_tools_is_no_parameter(gateway: Gateway, worker: ScriptedWorker) -> None:
    answering = asyncio.create_task(worker.answer())
    await gateway.json("POST", CHAT, chat(tools=[], tool_choice="auto", parallel_tool_calls=True))
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set((await answering).body)


async def test_a_stream_ends_with_done_and_has_no_ids(gateway: Gateway, worker: ScriptedWorker) -> None:
    answering = asyncio.create_task(worker.answer(["a", "b"]))
    lines = await read_stream(gateway, chat(stream=True))
    await answering
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks] == ["", "a", "b", None]
    assert all(line.startswith("data: ") for line in lines)


async def test_requests_parameters_go_over_the_models(gateway: Gateway, worker: ScriptedWorker) -> None:
    answering = asyncio.create_task(worker.answer())
    body = chat(
        temperature=1,
        max_completion_tokens=5,
        max_tokens=9,
        stop=["x"],
        top_p=None,
        user="ann",
        store=True,
        unknown_field={"a": 1},
        messages=[
            {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
            {"role": "user", "content": "Hi", "name": "Ann"},
        ],
    )
    await gateway.json("POST", CHAT, body)
    sent = (await answering).body
    assert sent["temperature"] == 1
    assert sent["max_tokens"] == 5
    assert sent["stop"] == ["x"]
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert set(sent) == {"model", "messages", "stream", "temperature", "max_tokens", "stop"}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_before_the_first_token_is_a_status(
    gateway: Gateway, worker: ScriptedWorker, stream: bool
) -> None:
    for error, status, code in (
        (InvalidArgumentError("Too long.", code="context_length_exceeded", param="messages"), 400, None),
        (ResourceExhaustedError("Busy.", retry_after_seconds=3), 429, "rate_limit_exceeded"),
        (UnavailableError("Crashed.", code="worker_lost"), 503, "worker_lost"),
    ):
        asking = asyncio.create_task(gateway.json("POST", CHAT, chat(stream=stream), status=status))
        await (await worker.take()).fail(error)
        body = (await asking)["error"]
        assert body["message"] == error.message
        assert body["code"] == (code or error.code)


async def test_a_failure_in_mid_stream_is_told_in_the_stream(gateway: Gateway, worker: ScriptedWorker) -> None:
    reading = asyncio.create_task(read_stream(gateway, chat(stream=True)))
    job = await worker.take()
    await job.begin()
    await job.say("half")
    await job.fail(UnavailableError("The engine went away.", code="worker_lost"))
    last = json.loads((await reading)[-1].removeprefix("data: "))
    assert last == {
        "error": {
            "message": "The engine went away.",
            "type": "server_error",
            "param": None,
            "code": "worker_lost",
        }
    }


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_a_running_job_cancels_it(
    gateway: Gateway, worker: ScriptedWorker, stream: bool
) -> None:
    asking = asyncio.create_task(gateway.client.post(CHAT, json=chat(stream=stream)))
    job = await worker.take()
    if stream:
        await job.begin()
        (await asking).close()
    else:
        asking.cancel()
    await job.until_cancelled()


async def test_a_client_that_leaves_the_queue_gives_up_its_place(gateway: Gateway, worker: ScriptedWorker) -> None:
    first = asyncio.create_task(gateway.client.post(CHAT, json=chat(user="ann")))
    held = await worker.take()
    waiting = asyncio.create_task(gateway.client.post(CHAT, json=chat(user="bob")))
    second = await worker.take()
    waiting.cancel()
    await second.until_cancelled()
    await held.answer_whole("done")
    assert (await first).status == 200


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 10**6}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 2**63}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": ""}, "stop"),
        ({"messages": [{"role": "user", "content": "a\0b"}]}, "messages[0].content[0].text"),
        ({"logprobs": 1}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"tools": [{"type": "function", "function": {"name": "f g"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [TOOL] * 129}, "tools"),
        ({"tools": [tool_with(parameters={"x": "y" * 70_000})]}, "tools[0].function"),
        ({"tools": [tool_with(parameters=DEEP)]}, "tools[0].function"),
        ({"tools": [tool_with(parameters={"pattern": "(" * 300})]}, "tools[0].function"),
        ({"tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"top_k": -1}, "top_k"),
        ({"min_p": 1.5}, "min_p"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"chat_template": "{{ x }}"}, "chat_template"),
        ({"best_of": 3}, "best_of"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {str(token): 1 for token in range(1025)}}, "logit_bias"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0]"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0].id"),
        ({"messages": [{"role": "user", "content": "hi"}] * 2049}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 65}]}, "messages"),
        ({"model": 5}, "model"),
    ],
)
async def test_a_bad_field_is_named_and_nothing_is_queued(gateway: Gateway, fields: dict[str, Any], param: str) -> None:
    error = (await gateway.json("POST", CHAT, chat(**fields), status=400))["error"]
    assert error["type"] == "invalid_request_error"
    assert (error["param"] or "").startswith(param)


@pytest.mark.parametrize("model", ["nobody", "../../etc/passwd", "a/b/c/d/e", "x" * 10_000, "a\0b"])
async def test_an_unknown_model_is_not_found(gateway: Gateway, model: str) -> None:
    error = (await gateway.json("POST", CHAT, chat(model=model), status=404))["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert len(error["message"]) < 200


async def test_a_schema_that_could_stall_an_engine_is_refused(gateway: Gateway) -> None:
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"properties": {"a": deep}}
    for schema in (deep, {"pattern": "(" * 300}, {"description": "x" * 70_000}):
        fields = {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}}
        await gateway.json("POST", CHAT, chat(**fields), status=400)
