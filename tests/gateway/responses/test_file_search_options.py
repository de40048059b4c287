"""What a request says of a search of files in responses binds it, or is refused by name."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from openai import AsyncOpenAI

from jan.errors import InvalidArgumentError
from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.client import refusal, upload
from tests.gateway.responses.test_file_search import QUESTION, RESULTS, garden, search, searching
from tests.gateway.responses.test_responses import respond
from tests.gateway.responses.test_streams import TOOLS

MONTHS = ("April", "May", "June")


async def test_options_bind_the_search(gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    files = [await upload(gateway.client, f"Plant tomatoes in {month}".encode(), f"{month}.txt") for month in MONTHS]
    added = [
        {"file_id": file["id"], "attributes": {"month": place, "warm": place > 5}}
        for place, file in enumerate(files, 4)
    ]
    store = await gateway.json("POST", "/v1/vector_stores", {"name": "Garden"})
    path = f"/v1/vector_stores/{store['id']}"
    await gateway.json("POST", f"{path}/file_batches", {"files": added})
    while (await gateway.json("GET", path))["file_counts"]["completed"] < len(MONTHS):
        pass

    async def found(**options: Any) -> set[str]:
        tools = [search(store["id"], **options)]
        fields = searching(store=False, include=RESULTS) | {"tools": tools}
        response, _ = await respond(openai_client, worker, **fields)
        told = response.tools[0].to_dict()
        assert {name: told[name] for name in options} == options
        return {result["filename"] for result in response.model_dump()["output"][0]["results"]}

    assert await found() == {f"{month}.txt" for month in MONTHS}
    assert len(await found(max_num_results=1)) == 1
    assert await found(filters={"type": "eq", "key": "month", "value": 5}) == {"May.txt"}
    compound = [{"type": "lt", "key": "month", "value": 6}, {"type": "eq", "key": "warm", "value": True}]
    assert await found(filters={"type": "or", "filters": compound}) == {"April.txt", "May.txt", "June.txt"}
    assert await found(filters={"type": "and", "filters": compound}) == set()
    strict = {"ranker": "auto", "score_threshold": 1.0}
    assert await found(ranking_options=strict) == set()
    weights = {"embedding_weight": 0.0, "text_weight": 1.0}
    assert len(await found(ranking_options={"ranker": "auto", "score_threshold": 0.0, "hybrid_search": weights})) == 3


@pytest.mark.parametrize(
    ("choice", "searches", "told"),
    [
        ("auto", True, "auto"),
        ("none", False, "none"),
        ("required", True, "required"),
        ({"type": "file_search"}, True, "auto"),
        ({"type": "function", "name": "weather"}, False, {"type": "function", "function": {"name": "weather"}}),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "file_search"}]}, True, None),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "weather"}]},
            False,
            "auto",
        ),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "file_search"}, {"type": "function", "name": "weather"}],
            },
            True,
            "required",
        ),
    ],
)
async def test_the_choice_binds(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI, *, choice: Any, searches: bool, told: Any
) -> None:
    store_id, _ = await garden(gateway)
    fields = searching(store_id, tool_choice=choice, max_tool_calls=1)
    fields["tools"].append(TOOLS[0])
    response, body = await respond(openai_client, worker, **fields)
    assert [item.type for item in response.output] == ["file_search_call"] * searches + ["message"]
    assert body.get("tool_choice") == told
    assert response.model_dump()["tool_choice"] == choice


async def test_a_search_may_be_required_where_there_is_nothing_else(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    store_id, _ = await garden(gateway)
    response, body = await respond(openai_client, worker, **searching(store_id, tool_choice="required"))
    assert [item.type for item in response.output] == ["file_search_call", "message"]
    assert "tool_choice" not in body


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"tools": [search("vs_0123456789abcdef01234567")]}, 404, "tools[0].vector_store_ids[0]"),
        ({"tools": [TOOLS[0], search("../x")]}, 404, "tools[1].vector_store_ids[0]"),
        ({"tools": [search()]}, 400, "tools[0].vector_store_ids"),
        ({"tools": [{"type": "file_search"}]}, 400, "tools[0].vector_store_ids"),
        ({"tools": [search("vs_1", max_num_results=51)]}, 400, "tools[0].max_num_results"),
        ({"tools": [search("vs_1", max_num_result=5)]}, 400, "tools[0].max_num_result"),
        ({"tools": [search("vs_1", filters={"type": "is", "key": "a", "value": 1})]}, 400, "tools[0].filters.type"),
        ({"tools": [search("vs_1", ranking_options={"score_threshold": 2})]}, 400, None),
        ({"tools": [search("vs_1"), search("vs_2")]}, 400, "tools[1]"),
        ({"tools": [TOOLS[0]], "tool_choice": {"type": "file_search"}}, 400, "tool_choice"),
        ({"tools": [search("vs_1")], "tool_choice": {"type": "function", "name": "weather"}}, 400, "tool_choice"),
        ({"input": [{"type": "file_search_call", "id": "fs_1"}]}, 400, "input[0].queries"),
    ],
)
async def test_what_cannot_be_searched_is_refused_by_name(
    gateway: Gateway, fields: dict[str, Any], status: int, param: str | None
) -> None:
    for store in (True, False):
        body = {"model": MODEL_ID, "input": QUESTION, "store": store, **fields}
        told, error = await refusal(gateway.client, "POST", "/v1/responses", json=body)
        assert (told, error["param"]) == (status, param or "tools[0].ranking_options.score_threshold")
    assert (await gateway.json("GET", "/v1/threads"))["data"] == []


async def test_an_expired_store_is_refused(gateway: Gateway, storage_server: StorageServer) -> None:
    body = {"expires_after": {"anchor": "last_active_at", "days": 1}}
    store_id = (await gateway.json("POST", "/v1/vector_stores", body))["id"]
    record = storage_server.janroot / "vector_stores" / store_id / "vector_store.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"last_active_at": 1_700_000_000_000}))
    status, error = await refusal(gateway.client, "POST", "/v1/responses", json=searching(store_id))
    assert (status, error["code"], error["param"]) == (400, "vector_store_expired", "tools[0].vector_store_ids[0]")


@pytest.mark.parametrize("store", [True, False])
async def test_what_an_engine_refuses_is_named_as_it_was_sent(
    gateway: Gateway, worker: ScriptedWorker, store: bool
) -> None:
    """Engines are told the functions alone, so the first of theirs is the second that was sent."""
    store_id, _ = await garden(gateway)
    fields = searching(store_id, store=store)
    fields["tools"].append(TOOLS[0])
    asking = asyncio.create_task(gateway.client.post("/v1/responses", json=fields))
    unbound = InvalidArgumentError("No.", code="unsupported_schema", param="tools[0].function.parameters")
    await (await worker.take()).fail(unbound)
    async with await asking as answer:
        error = (await answer.json())["error"]
        assert (answer.status, error["param"]) == (400, "tools[1].parameters")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_repeated_request_is_told_what_was_found_again(
    gateway: Gateway, worker: ScriptedWorker, stream: bool
) -> None:
    store_id, _ = await garden(gateway)
    fields = searching(store_id, stream=stream, include=RESULTS)

    async def ask() -> str:
        headers = {"Idempotency-Key": "once"}
        async with gateway.client.post("/v1/responses", json=fields, headers=headers) as answer:
            return await answer.text()

    asking = asyncio.create_task(ask())
    await worker.answer(["May [1]"])
    first = await asking
    assert "Plant tomatoes in May" in first
    assert await ask() == first


async def test_a_stream_is_told_without_results_that_were_deleted_since(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    store_id, _ = await garden(gateway)
    conversation = await openai_client.conversations.create()
    response, _ = await respond(openai_client, worker, **searching(store_id, conversation=conversation.id))
    item_id = response.output[0].id
    assert item_id is not None
    await openai_client.conversations.items.delete(item_id, conversation_id=conversation.id)
    stream = await openai_client.responses.retrieve(response.id, stream=True, include=RESULTS)
    events = [event async for event in stream]
    assert events[-1].type == "response.completed"
