"""Functions in namespaces: flat to engines, and to clients as they sent them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError

from gateway.schemas.namespaces import MAX_FLAT_NAME, flat_name
from jan.errors import InvalidArgumentError
from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.client import refusal
from tests.gateway.responses.test_responses import respond
from tests.gateway.responses.test_streams import events_of

PARAMETERS = {"type": "object", "properties": {"id": {"type": "string"}}}


def function(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": PARAMETERS, "strict": False, **fields}


def namespace(name: str, *functions: dict[str, Any]) -> dict[str, Any]:
    return {"type": "namespace", "name": name, "description": f"All of {name}.", "tools": list(functions)}


# `find` stands alone and in both of the namespaces: these are three tools.
TOOLS: list[Any] = [
    function("find"),
    namespace("crm", function("find", description="A customer."), function("close")),
    namespace("shop", function("find")),
]


async def called(worker: ScriptedWorker, name: str) -> Any:
    job = await worker.take()
    await job.begin()
    await job.call(0, name, '{"id":', ' "7"}')
    await job.finish("tool_calls")
    return job.body


@pytest.mark.parametrize("store", [True, False])
async def test_engines_know_functions_by_flat_names_and_clients_by_their_own(
    worker: ScriptedWorker, openai_client: AsyncOpenAI, store: bool
) -> None:
    reading = asyncio.create_task(events_of(openai_client, store=store, tools=TOOLS))
    body = await called(worker, "crm__find")
    events = await reading
    told = {tool["function"]["name"]: tool["function"].get("description") for tool in body["tools"]}
    assert told == {
        "find": None,
        "crm__find": "[crm: All of crm.]\n\nA customer.",
        "crm__close": None,
        "shop__find": "[shop: All of shop.]",
    }
    items = [event.item for event in events if event.type.startswith("response.output_item")]
    assert [(item.namespace, item.name) for item in items] == [("crm", "find")] * 2
    [done] = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert (done.name, done.arguments) == ("find", '{"id": "7"}')
    response = events[-1].response
    assert response.output == items[1:]
    assert [tool.type for tool in response.tools] == ["function", "namespace", "namespace"]
    assert [tool.name for tool in response.tools[1].tools] == ["find", "close"]
    if store:
        assert await openai_client.responses.retrieve(response.id) == response
        page = await openai_client.conversations.items.list(f"conv_{response.model_dump()['thread_id']}")
        assert page.data[0].model_dump()["namespace"] == "crm"


@pytest.mark.parametrize("store", [True, False])
async def test_calls_and_outputs_that_come_back_are_told_as_they_were_made(
    worker: ScriptedWorker, openai_client: AsyncOpenAI, store: bool
) -> None:
    sent: list[Any] = [
        {"role": "user", "content": "Who?"},
        {"type": "function_call", "call_id": "c1", "name": "find", "namespace": "crm", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "find", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "name": "find", "namespace": "crm", "output": "Ann"},
        {"type": "function_call_output", "call_id": "c2", "output": "Bob"},
    ]
    response, body = await respond(openai_client, worker, store=store, tools=TOOLS, input=sent)
    [_, asked, *outputs] = body["messages"]
    assert [call["function"]["name"] for call in asked["tool_calls"]] == ["crm__find", "find"]
    assert [(one["tool_call_id"], one["content"]) for one in outputs] == [("c1", "Ann"), ("c2", "Bob")]
    if store:
        items = (await openai_client.responses.input_items.list(response.id, order="asc")).data
        named = [(item.get("namespace"), item.get("name")) for item in (one.model_dump() for one in items[1:])]
        assert named == [("crm", "find"), (None, "find"), ("crm", "find"), (None, None)]


async def test_an_output_that_nobody_asked_for_is_told_as_a_call_with_its_output(
    worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    unasked = {"type": "function_call_output", "id": "fco_1", "name": "objective", "namespace": "agent", "output": "Go"}
    sent: list[Any] = [
        {"role": "user", "content": "Who?"},
        {"type": "function_call", "call_id": "c1", "name": "find", "arguments": "{}"},
        unasked,  # it may not come between a call and its output
        {"type": "function_call_output", "call_id": "c1", "output": "Ann"},
    ]
    response, body = await respond(openai_client, worker, input=sent)
    [_, asked, answered, unasked_call, unasked_output] = body["messages"]
    assert (asked["tool_calls"][0]["id"], answered["tool_call_id"]) == ("c1", "c1")
    [call] = unasked_call["tool_calls"]
    assert call["function"] == {"name": "agent__objective", "arguments": "{}"}
    assert unasked_output == {"role": "tool", "tool_call_id": call["id"], "content": "Go"}
    items = (await openai_client.responses.input_items.list(response.id, order="asc")).data
    kept = {name: value for name, value in items[2].model_dump().items() if name not in ("id", "status")}
    assert kept.items() >= {key: unasked[key] for key in ("type", "name", "namespace", "output")}.items()
    assert not kept.get("call_id")


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"type": "function", "name": "find"}, "find"),
        ({"type": "function", "name": "close"}, "crm__close"),
        ({"type": "function", "name": "find", "namespace": "shop"}, "shop__find"),
    ],
)
async def test_a_choice_names_one_function(
    worker: ScriptedWorker, openai_client: AsyncOpenAI, choice: Any, told: str
) -> None:
    response, body = await respond(openai_client, worker, tools=TOOLS, tool_choice=choice)
    assert body["tool_choice"]["function"] == {"name": told}
    assert response.tool_choice.model_dump(exclude_none=True) == choice  # type: ignore[union-attr]


async def test_functions_of_namespaces_may_be_the_allowed_ones(
    worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    choice: Any = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "close"}]}
    _, body = await respond(openai_client, worker, tools=TOOLS, tool_choice=choice)
    [tool] = body["tools"]
    assert (tool["function"]["name"], tool["function"]["description"]) == ("crm__close", "[crm: All of crm.]")
    assert body["tool_choice"] == "required"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [namespace("crm", {"type": "custom", "name": "free"})]}, "tools[0].tools[0]"),
        ({"tools": [namespace("crm")]}, "tools[0].tools"),
        ({"tools": [namespace("crm", function("a"), function("a"))]}, "tools[0].tools[1].name"),
        ({"tools": [namespace("crm", function("a")), namespace("crm", function("a"))]}, "tools[1].tools[0].name"),
        ({"tools": [namespace("crm", function("a")), function("crm__a")]}, "tools[1].name"),
        ({"tools": [namespace("the crm", function("a"))]}, "tools[0].name"),
        ({"tools": [namespace("crm", function("a", defer_loading=True))]}, "tools[0].tools[0].defer_loading"),
        ({"tools": [namespace(f"n{one}", *[function(f"f{two}") for two in range(65)]) for one in range(2)]}, "tools"),
        ({"tools": TOOLS[1:], "tool_choice": {"type": "function", "name": "find"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "name": "close", "namespace": "shop"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "namespace", "name": "crm"}}, "tool_choice"),
    ],
)
async def test_what_is_not_unambiguous_is_refused_by_name(gateway: Gateway, fields: dict[str, Any], param: str) -> None:
    sent = {"model": MODEL_ID, "input": "Hi", **fields}
    status, error = await refusal(gateway.client, "POST", "/v1/responses", json=sent)
    assert (status, error["param"]) == (400, param)
    assert (await gateway.json("GET", "/v1/threads"))["data"] == []


@pytest.mark.parametrize("store", [True, False])
async def test_what_an_engine_refuses_is_named_where_the_client_has_it(
    worker: ScriptedWorker, openai_client: AsyncOpenAI, store: bool
) -> None:
    asking = asyncio.create_task(openai_client.responses.create(model=MODEL_ID, input="Hi", tools=TOOLS, store=store))
    job = await worker.take()
    unbound = InvalidArgumentError("No.", code="unsupported_schema", param="tools[2].function.parameters")
    await job.fail(unbound)
    with pytest.raises(BadRequestError) as refused:
        await asking
    assert refused.value.param == "tools[1].tools[1].parameters"


def test_a_flat_name_is_one_that_engines_take() -> None:
    assert flat_name("find", None) == "find"
    assert flat_name("find", "crm") == "crm__find"
    long = [flat_name("f" * 120 + end, "n" * 64) for end in "ab"]
    assert [len(name) for name in long] == [MAX_FLAT_NAME] * 2
    assert long[0] != long[1]


async def test_what_codex_says_of_itself_is_accepted(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    response, body = await respond(openai_client, worker, extra_body={"client_metadata": {"thread_id": "t", "n": "1"}})
    assert response.output_text == "Hello there"
    assert "client_metadata" not in body
