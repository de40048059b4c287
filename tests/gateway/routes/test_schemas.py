"""Schemas that nothing can be bound to are refused where they are sent, by name; nothing is made of such a request."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jan.errors import InvalidArgumentError
from tests.fixtures.engine_host import EngineHost
from tests.fixtures.gateway import MODEL_ID, Gateway, write_model
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.client import refusal
from tests.gateway.routes.test_runs import parse_events

LOCAL = "local"
SEARCH = {"type": "file_search"}
MALFORMED = {"type": "object", "properties": {"a": {"type": "banana"}}}
# Each is a schema, but what its keyword asks for is nothing that the engines here could be held to.
UNBINDABLE = {
    "type": "object",
    "properties": {"a": {"type": "array", "items": {"type": "string"}, "uniqueItems": True}},
    "required": ["a"],
    "additionalProperties": False,
}
EXCESSIVE = {"type": "object", "properties": {"a": {"enum": list(range(600))}}}


@pytest.fixture(autouse=True)
def local_model(storage_server: StorageServer) -> None:
    """A model that an engine of ours would run."""
    write_model(storage_server.janroot, LOCAL, engine="llamacpp", format="gguf", sources=[])


def function(parameters: Any, name: str = "f", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters} | fields}


def flat(parameters: Any, name: str = "f", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": parameters} | fields


def shape(schema: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "s", "schema": schema} | fields}


GOOD = function({"type": "object", "properties": {}}, "g")
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "a malformed tool": (
        {"tools": [SEARCH, function(MALFORMED)]},
        "tools[1].function.parameters",
        "invalid_function_parameters",
    ),
    "arguments that are no object": (
        {"tools": [GOOD, function({"type": "array"})]},
        "tools[1].function.parameters",
        "invalid_function_parameters",
    ),
    "a strict tool that is open": (
        {"tools": [function({"type": "object"}, strict=True)]},
        "tools[0].function.parameters",
        "invalid_function_parameters",
    ),
    "a malformed format": ({"response_format": shape(MALFORMED)}, "response_format", "invalid_json_schema"),
    "a strict format that does not bind": (
        {"response_format": shape(UNBINDABLE, strict=True)},
        "response_format",
        "unsupported_schema",
    ),
    "a tool that is too much for its engine": (
        {"tools": [SEARCH, GOOD, function(EXCESSIVE)]},
        "tools[2].function.parameters",
        "schema_too_complex",
    ),
}
TEXT = {"type": "json_schema", "name": "s"}
REFUSED_OF_RESPONSES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a malformed tool": ({"tools": [flat(MALFORMED)]}, "tools[0].parameters", "invalid_function_parameters"),
    "a malformed format": (
        {"text": {"format": TEXT | {"schema": MALFORMED}}},
        "text.format.schema",
        "invalid_json_schema",
    ),
    "a strict format that does not bind": (
        {"text": {"format": TEXT | {"schema": UNBINDABLE, "strict": True}}},
        "text.format.schema",
        "unsupported_schema",
    ),
    "of some tools one that is too much for its engine": (
        {
            "tools": [flat({}, "g"), flat(EXCESSIVE)],
            "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        },
        "tools[1].parameters",
        "schema_too_complex",
    ),
}


async def everything(gateway: Gateway) -> list[Any]:
    """What clients can list."""
    threads = (await gateway.json("GET", "/v1/threads"))["data"]
    runs = [(await gateway.json("GET", f"/v1/threads/{thread['id']}/runs"))["data"] for thread in threads]
    return [threads, runs, (await gateway.json("GET", "/v1/assistants"))["data"]]


async def test_of_assistants_and_runs(engine_host: EngineHost, gateway: Gateway) -> None:
    assistant = await gateway.json("POST", "/v1/assistants", {"model": LOCAL})
    thread = await gateway.json("POST", "/v1/threads", {"messages": [{"role": "user", "content": "Hi"}]})
    before = await everything(gateway)
    for name, (fields, param, code) in REFUSED.items():
        run = {"assistant_id": assistant["id"], **fields}
        asked: list[tuple[str, dict[str, Any]]] = [
            ("/v1/assistants", {"model": LOCAL, **fields}),
            (f"/v1/assistants/{assistant['id']}", fields),
            (f"/v1/threads/{thread['id']}/runs", run),
            ("/v1/threads/runs", {"thread": {}, **run}),
        ]
        for path, body in asked:
            status, error = await refusal(gateway.client, "POST", path, json=body)
            assert (status, error["param"], error["code"]) == (400, param, code), (name, path)
    assert await everything(gateway) == before


@pytest.mark.parametrize("more", [{}, {"background": True}, {"stream": True}], ids=["whole", "background", "stream"])
async def test_of_responses(engine_host: EngineHost, gateway: Gateway, more: dict[str, Any]) -> None:
    for name, (fields, param, code) in REFUSED_OF_RESPONSES.items():
        body = {"model": LOCAL, "input": "Hi", **fields, **more}
        status, error = await refusal(gateway.client, "POST", "/v1/responses", json=body)
        assert (status, error["param"], error["code"]) == (400, param, code), name
    assert (await gateway.json("GET", "/v1/threads"))["data"] == []


async def test_the_rounds_behind_a_forced_call_count_too(engine_host: EngineHost, gateway: Gateway) -> None:
    """The first is bound to the call alone; then the model may answer."""
    assistant = await gateway.json("POST", "/v1/assistants", {"model": LOCAL})
    run = {
        "assistant_id": assistant["id"],
        "tools": [GOOD],
        "tool_choice": "required",
        "response_format": shape(UNBINDABLE, strict=True),
    }
    status, error = await refusal(gateway.client, "POST", "/v1/threads/runs", json=run)
    assert (status, error["param"]) == (400, "response_format")


async def test_what_stays_of_an_assistant_counts_where_it_is_changed(engine_host: EngineHost, gateway: Gateway) -> None:
    """A model elsewhere may be bound by what none here is, so it is the change of the model that is refused."""
    body = {"model": MODEL_ID, "response_format": shape(UNBINDABLE, strict=True)}
    assistant = await gateway.json("POST", "/v1/assistants", body)
    path = f"/v1/assistants/{assistant['id']}"
    status, error = await refusal(gateway.client, "POST", path, json={"model": LOCAL})
    assert (status, error["param"]) == (400, "response_format")
    assert (await gateway.json("POST", path, {"name": "A"})) == assistant | {"name": "A"}
    changed = await gateway.json("POST", path, {"model": LOCAL, "response_format": "auto"})
    assert changed["model"] == LOCAL


async def test_without_a_host_the_job_tells_it(gateway: Gateway, worker: ScriptedWorker) -> None:
    """And names the field of the request, in a run and in a response."""
    assistant = await gateway.json("POST", "/v1/assistants", {"model": LOCAL})
    run = {"assistant_id": assistant["id"], "tools": [SEARCH, function({})], "stream": True}
    asking = asyncio.create_task(gateway.client.post("/v1/threads/runs", json=run))
    unbound = InvalidArgumentError("No.", code="unsupported_schema", param="tools[0].function.parameters")
    await (await worker.take()).fail(unbound)
    async with await asking as answer:
        events = dict(parse_events(await answer.text()))
    told = {"code": "invalid_prompt", "message": "Invalid 'tools[1].function.parameters': No."}
    assert events["thread.run.failed"]["last_error"] == told

    body = {"model": LOCAL, "input": "Hi", "background": True, "stream": True, "tools": [flat({})]}
    asking = asyncio.create_task(gateway.client.post("/v1/responses", json=body))
    await (await worker.take()).fail(unbound)
    async with await asking as answer:
        events = dict(parse_events(await answer.text()))
    told = {"code": "invalid_prompt", "message": "Invalid 'tools[0].parameters': No."}
    assert events["response.failed"]["response"]["error"] == told
