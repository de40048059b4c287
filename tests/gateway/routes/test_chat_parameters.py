"""Every parameter of a chat is honoured or refused by name: what reaches the engine, and what is said otherwise."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError

from tests.fixtures.gateway import MODEL_ID, Gateway, write_model
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker

CHAT = "/v1/chat/completions"
LOCAL = "local"
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
FUNCTION = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
OTHER = {"name": "time"}


def tool(function: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": function}


def named(name: str) -> dict[str, Any]:
    return tool({"name": name})


def allowed(mode: str, *names: str) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [named(name) for name in names]}}


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL_ID, "messages": [{"role": "user", "content": "Hi"}], **fields}


@pytest.fixture(autouse=True)
def _local_model(gateway: Gateway, storage_server: StorageServer) -> None:
    write_model(storage_server.janroot, LOCAL, engine="llamacpp", format="gguf", sources=[{"filename": "a.gguf"}])


async def told(gateway: Gateway, worker: ScriptedWorker, **fields: Any) -> dict[str, Any]:
    """What the engine is told of a request that must succeed."""
    answering = asyncio.create_task(worker.answer())
    await gateway.json("POST", CHAT, chat(**fields))
    return (await answering).body


async def test_some_of_the_tools_may_be_allowed(gateway: Gateway, worker: ScriptedWorker) -> None:
    tools = [tool(FUNCTION), tool(OTHER)]
    body = await told(gateway, worker, tools=tools, tool_choice=allowed("required", "time"))
    assert (body["tools"], body["tool_choice"]) == ([tool(OTHER)], "required")
    body = await told(gateway, worker, tools=tools, tool_choice=allowed("auto", "time", "weather"))
    assert (body["tools"], body["tool_choice"]) == (tools, "auto")


async def test_functions_of_2023_are_tools(gateway: Gateway, worker: ScriptedWorker) -> None:
    functions = [FUNCTION, OTHER]
    body = await told(gateway, worker, functions=functions, function_call={"name": "time"})
    assert body["tools"] == [tool(FUNCTION), tool(OTHER)]
    assert body["tool_choice"] == named("time")
    assert body["parallel_tool_calls"] is False
    assert body["answers_functions"] is True
    body = await told(gateway, worker, functions=functions, function_call="none")
    assert body["tool_choice"] == "none"
    assert "functions" not in body


async def test_calls_of_2023_are_told_as_calls_of_tools(gateway: Gateway, worker: ScriptedWorker) -> None:
    called = {"name": "time", "arguments": "{}"}
    messages = [
        {"role": "user", "content": "When?"},
        {"role": "assistant", "content": None, "function_call": called},
        {"role": "function", "name": "time", "content": "now"},
        {"role": "assistant", "refusal": "I will not say."},
    ]
    assert (await told(gateway, worker, messages=messages))["messages"] == [
        {"role": "user", "content": "When?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": called}],
        },
        {"role": "tool", "content": "now", "name": "time", "tool_call_id": "call_1"},
        {"role": "assistant", "content": "I will not say."},
    ]


async def test_the_lower_of_two_token_limits_holds(gateway: Gateway, worker: ScriptedWorker) -> None:
    assert (await told(gateway, worker, max_tokens=5, max_completion_tokens=9))["max_tokens"] == 5


async def test_a_remote_model_is_told_what_only_it_may_honour(gateway: Gateway, worker: ScriptedWorker) -> None:
    content = [{"type": "text", "text": "What is this?"}, IMAGE]
    fields = {"verbosity": "low", "prediction": {"type": "content", "content": "a"}, "web_search_options": {}}
    body = await told(gateway, worker, messages=[{"role": "user", "content": content}], **fields)
    assert body["messages"] == [{"role": "user", "content": content}]
    assert {name: body[name] for name in fields} == fields


async def test_labels_and_hints_reach_no_engine(gateway: Gateway, worker: ScriptedWorker) -> None:
    labels = {
        "metadata": {"a": "b"},
        "user": "ann",
        "safety_identifier": "ann",
        "prompt_cache_key": "k",
        "prompt_cache_retention": "24h",
        "prompt_cache_options": {"ttl": "30m"},
        "store": False,
        "modalities": ["text"],
    }
    assert set(await told(gateway, worker, **labels)) == {"model", "messages", "stream", "temperature"}


async def test_reasoning_effort_reaches_the_engine(gateway: Gateway, worker: ScriptedWorker) -> None:
    assert (await told(gateway, worker, reasoning_effort="low"))["reasoning_effort"] == "low"


@pytest.mark.parametrize(("tier", "echoed"), [("flex", "flex"), ("auto", "default"), ("priority", "priority")])
async def test_the_job_says_which_tier_the_answer_names(
    gateway: Gateway, worker: ScriptedWorker, tier: str, echoed: str
) -> None:
    answering = asyncio.create_task(worker.answer())
    await gateway.json("POST", CHAT, chat(service_tier=tier))
    assert (await answering).job.service_tier == echoed


async def test_a_person_is_told_by_either_name(gateway: Gateway, worker: ScriptedWorker) -> None:
    answering = asyncio.create_task(worker.answer())
    await gateway.json("POST", CHAT, chat(safety_identifier="ann"))
    assert (await answering).job.tenant == "user:ann"


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio", "unsupported_parameter"),
        ({"modalities": ["text", "audio"]}, "modalities", "unsupported_parameter"),
        ({"moderation": {"model": "m"}}, "moderation", "unsupported_parameter"),
        ({"verbosity": "low"}, "verbosity", "unsupported_parameter"),
        ({"verbosity": "loud"}, "verbosity", "invalid_value"),
        ({"reasoning_effort": "huge"}, "reasoning_effort", "invalid_value"),
        ({"prediction": {"type": "content", "content": "a"}}, "prediction", "unsupported_parameter"),
        ({"web_search_options": {}}, "web_search_options", "unsupported_parameter"),
        ({"service_tier": "gold"}, "service_tier", "invalid_value"),
        ({"safety_identifier": "x" * 65}, "safety_identifier", "string_above_max_length"),
        ({"n": 129}, "n", "integer_above_max_value"),
        (
            {"stream": True, "stream_options": {"include_obfuscation": True}},
            "stream_options.include_obfuscation",
            "unsupported_parameter",
        ),
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "tools[0]", "unsupported_parameter"),
        (
            {"tools": [tool(FUNCTION)], "tool_choice": {"type": "custom", "custom": {"name": "c"}}},
            "tool_choice",
            "unsupported_parameter",
        ),
        ({"tools": [tool(FUNCTION)], "tool_choice": allowed("auto", "time")}, "tool_choice", None),
        ({"functions": [FUNCTION], "tools": [tool(FUNCTION)]}, "functions", None),
        ({"function_call": "auto"}, "function_call", None),
        ({"functions": [FUNCTION], "function_call": {"name": "time"}}, "function_call", None),
        (
            {"tools": [tool({**FUNCTION, "strict": True})]},
            "tools[0].function.parameters",
            "invalid_function_parameters",
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "s", "strict": True, "schema": {"type": "object"}},
                }
            },
            "response_format",
            "invalid_json_schema",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "no spaces", "schema": {}}}},
            "response_format.json_schema.name",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "user", "content": [IMAGE]}]},
            "messages[0].content[0].image_url",
            "unsupported_content",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
            "messages[0].content[0]",
            "unsupported_content",
        ),
        (
            {"messages": [{"role": "assistant", "content": "a", "audio": {"id": "a"}}]},
            "messages[0]",
            "unsupported_content",
        ),
        ({"messages": [{"role": "function", "content": "a"}]}, "messages[0].name", "missing_required_parameter"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_by_name(
    gateway: Gateway, fields: dict[str, Any], param: str, code: str | None
) -> None:
    async with AsyncOpenAI(base_url=f"{gateway.url}v1", api_key="unused", max_retries=0) as client:
        with pytest.raises(BadRequestError) as refused:
            await client.post(CHAT.removeprefix("/v1"), body=chat(model=LOCAL, **fields), cast_to=object)
    assert (refused.value.type, refused.value.param, refused.value.code) == ("invalid_request_error", param, code)


CALLS: dict[str, Any] = {
    "role": "assistant",
    "tool_calls": [{"id": id_, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id_ in ("a", "b")],
}
NO_CALL = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
NO_OUTPUT = (
    "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
    "The following tool_call_ids did not have response messages: "
)


def output(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "42"}


@pytest.mark.parametrize(
    ("messages", "message", "param"),
    [
        ([output("a")], NO_CALL, "messages[0].role"),
        ([CALLS, output("a"), output("b"), {"role": "user", "content": "x"}, output("a")], NO_CALL, "messages[4].role"),
        (
            [CALLS, output("a"), output("c")],
            "Invalid parameter: 'tool_call_id' of 'c' not found in 'tool_calls' of previous message.",
            "messages[2].tool_call_id",
        ),
        ([CALLS, {"role": "user", "content": "x"}], f"{NO_OUTPUT}a, b", "messages[1].role"),
        ([CALLS, output("a"), CALLS], f"{NO_OUTPUT}b", "messages[2].role"),
        ([{"role": "user", "content": "x"}, CALLS, output("b")], f"{NO_OUTPUT}a", "messages[1].tool_calls"),
    ],
)
@pytest.mark.parametrize("model", [LOCAL, MODEL_ID])
async def test_calls_and_their_outputs_belong_together(
    gateway: Gateway, model: str, messages: list[Any], message: str, param: str
) -> None:
    error = (await gateway.json("POST", CHAT, {"model": model, "messages": messages}, status=400))["error"]
    assert (error["message"], error["param"], error["code"]) == (message, param, None)


async def test_calls_with_all_of_their_outputs_are_told(gateway: Gateway, worker: ScriptedWorker) -> None:
    messages = [CALLS, output("b"), output("a"), {"role": "user", "content": "x"}]
    told_messages = (await told(gateway, worker, messages=messages))["messages"]
    assert [one["role"] for one in told_messages] == ["assistant", "tool", "tool", "user"]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y.png", "data:text/html,x", ""])
async def test_an_image_lies_in_the_request_or_on_the_web(gateway: Gateway, url: str) -> None:
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    error = (await gateway.json("POST", CHAT, chat(messages=messages), status=400))["error"]
    assert error["param"].startswith("messages[0].content[0].image_url")


@pytest.mark.parametrize(
    ("fields", "param", "instead"),
    [
        ({"guided_json": {"type": "object"}}, "guided_json", "'response_format'"),
        ({"guided_regex": "A"}, "guided_regex", "'pattern'"),
        ({"grammar": 'root ::= "A"'}, "grammar", "'response_format'"),
        ({"format": "json"}, "format", "'response_format'"),
        ({"think": False}, "think", "'reasoning_effort'"),
        ({"options": {"temperature": 0}}, "options", "'temperature'"),
    ],
)
@pytest.mark.parametrize("route", [CHAT, "/v1/completions", "/v1/assistants", "/v1/threads/runs"])
async def test_what_binds_answers_elsewhere_is_refused_with_what_to_send(
    gateway: Gateway, route: str, fields: dict[str, Any], param: str, instead: str
) -> None:
    body = chat(prompt="Hi", assistant_id="asst_a", **fields)
    error = (await gateway.json("POST", route, body, status=400))["error"]
    assert (error["param"], error["code"]) == (param, "unsupported_parameter")
    assert instead in error["message"]


async def test_what_asks_for_nothing_there_is_as_if_left_out(gateway: Gateway, worker: ScriptedWorker) -> None:
    extras: dict[str, Any] = {
        "guided_json": None,
        "format": "",
        "options": {},
        "think": None,
        "keep_alive": "5m",
        "drop_params": True,
    }
    assert set(await told(gateway, worker, **extras)) == {"model", "messages", "stream", "temperature"}
