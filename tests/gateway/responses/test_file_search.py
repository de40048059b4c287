"""The tool file_search in responses: an item in front of the answer, which cites what was found."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from openai import AsyncOpenAI

from jan.errors import InvalidArgumentError
from tests.fixtures.gateway import MODEL_ID, Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker, TakenByTest
from tests.gateway.client import upload
from tests.gateway.responses.test_responses import respond
from tests.gateway.responses.test_streams import events_of, until_status
from tests.gateway.routes.test_runs import parse_events
from tests.gateway.runs.test_file_search import new_store

QUESTION = "When do I plant tomatoes?"
RESULTS: Any = ["file_search_call.results"]
EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.file_search_call.in_progress",
    "response.file_search_call.searching",
    "response.file_search_call.completed",
    "response.output_item.done",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.annotation.added",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


def search(*store_ids: str, **options: Any) -> dict[str, Any]:
    return {"type": "file_search", "vector_store_ids": list(store_ids), **options}


def searching(*store_ids: str, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL_ID, "input": QUESTION, "tools": [search(*store_ids)], **fields}


async def garden(gateway: Gateway) -> tuple[str, str]:
    """A vector store, and the id of its file that answers the question."""
    store_id, [_, tomatoes] = await new_store(gateway, roses="Roses are cut in March", tomatoes="Plant tomatoes in May")
    return store_id, tomatoes


async def say(job: TakenByTest, *words: str) -> None:
    await job.begin()
    await job.say(*words)
    await job.finish()


def told_excerpts(job: TakenByTest) -> str:
    """What the model was told of files; empty when that is nothing."""
    first = job.body["messages"][0]
    return first["content"] if first["role"] == "system" else ""


@pytest.mark.parametrize("store", [True, False])
async def test_the_events_are_openais(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI, store: bool
) -> None:
    store_id, tomatoes = await garden(gateway)
    fields = searching(store_id, store=store, include=RESULTS, instructions="Be brief.")
    reading = asyncio.create_task(events_of(openai_client, **fields))
    job = await worker.take()
    assert told_excerpts(job).startswith("Be brief.\n\n")
    assert "[1] tomatoes.txt\nPlant tomatoes in May" in told_excerpts(job)
    assert "tools" not in job.body
    await say(job, "In May [1", "].")
    events = await reading
    assert [event.type for event in events] == EVENTS
    assert [event.sequence_number for event in events] == list(range(len(events)))
    begun, ended = events[2], events[6]
    assert (begun.item.type, begun.item.status, begun.item.queries) == ("file_search_call", "in_progress", [])
    assert {event.item_id for event in events[3:6]} == {begun.item.id} == {ended.item.id}
    assert {event.output_index for event in events[2:7]} == {0}
    assert (ended.item.status, ended.item.queries) == ("completed", [QUESTION])
    [result] = ended.item.results
    assert (result.file_id, result.filename, result.text) == (tomatoes, "tomatoes.txt", "Plant tomatoes in May")
    assert (result.attributes, 0 < result.score <= 1) == ({}, True)
    cited = {"type": "file_citation", "file_id": tomatoes, "filename": "tomatoes.txt", "index": 10}
    assert events[11].annotation.to_dict() == cited
    assert (events[11].annotation_index, events[11].output_index) == (0, 1)
    response = events[-1].response
    assert response.output == [ended.item, events[-2].item]
    assert [one.to_dict() for one in events[-2].item.content[0].annotations] == [cited]
    [tool] = response.tools
    assert (tool.type, tool.vector_store_ids, tool.max_num_results, tool.filters) == (
        "file_search",
        [store_id],
        5,
        None,
    )
    if store:
        assert await openai_client.responses.retrieve(response.id, include=RESULTS) == response


@pytest.mark.parametrize("store", [True, False])
async def test_what_was_found_is_told_to_who_asks(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI, store: bool
) -> None:
    store_id, _ = await garden(gateway)
    response, _ = await respond(openai_client, worker, "May [1]", **searching(store_id, store=store))
    item: Any = response.output[0]
    assert (item.type, item.results) == ("file_search_call", None)
    if not store:
        return
    assert await openai_client.responses.retrieve(response.id) == response
    shown = await openai_client.responses.retrieve(response.id, include=RESULTS)
    assert shown.model_dump()["output"][0]["results"][0]["text"] == "Plant tomatoes in May"
    conversation = f"conv_{response.model_dump()['thread_id']}"
    items = openai_client.conversations.items
    for include, count in ((None, None), (RESULTS, 1)):
        listed = (await items.list(conversation, order="asc", include=include or [])).data
        one = await items.retrieve(item.id, conversation_id=conversation, include=include or [])
        assert listed[1] == one
        assert [each.type for each in listed] == ["message", "file_search_call", "message"]
        results = one.model_dump()["results"]
        assert (results and len(results)) == count


async def test_a_stream_is_taken_up_behind_any_event(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    store_id, _ = await garden(gateway)
    reading = asyncio.create_task(events_of(openai_client, **searching(store_id, background=True)))
    await say(await worker.take(), "In May [1", "].")
    whole = await reading
    assert [event.type for event in whole] == ["response.created", "response.queued", *EVENTS[1:]]
    for after in range(len(whole)):
        stream = await openai_client.responses.retrieve(whole[0].response.id, stream=True, starting_after=after)
        assert [event async for event in stream] == whole[after + 1 :]
    stream = await openai_client.responses.retrieve(
        whole[0].response.id, stream=True, starting_after=6, include=RESULTS
    )
    first: Any = await anext(aiter(stream))
    assert [result.text for result in first.item.results] == ["Plant tomatoes in May"]


async def test_the_stream_helper_hears_the_search(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    store_id, tomatoes = await garden(gateway)
    answering = asyncio.create_task(worker.answer(["In May ", "[1]", "."]))
    async with openai_client.responses.stream(**searching(store_id)) as stream:
        heard = [event.type async for event in stream]
        final = await stream.get_final_response()
    await answering
    assert "response.file_search_call.searching" in heard
    assert final.output_text == "In May [1]."
    answer: Any = final.output[1]
    assert [one.file_id for one in answer.content[0].annotations] == [tomatoes]


@pytest.mark.parametrize("ends", ["cancelled", "failed"])
async def test_a_search_that_does_not_end_well_is_told(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI, held_back: threading.Event, ends: str
) -> None:
    del worker
    try:
        file = await upload(gateway.client, b"Plant tomatoes in May", "a.txt")
        store = await gateway.json("POST", "/v1/vector_stores", {"file_ids": [file["id"]]})
        stream = await openai_client.responses.create(**searching(store["id"], stream=True))
        heard: list[Any] = []
        async for event in stream:
            heard.append(event)
            if event.type == "response.file_search_call.searching":  # while it searches, not when that is over
                if ends == "cancelled":
                    stopping = asyncio.create_task(openai_client.responses.cancel(heard[0].response.id))
                else:
                    await gateway.json("DELETE", f"/v1/vector_stores/{store['id']}")
        assert [event.type for event in heard] == [*EVENTS[:5], "response.output_item.done", "response.failed"]
        response = heard[-1].response
        if ends == "cancelled":
            assert await stopping == response
    finally:
        held_back.set()
    assert (response.status, heard[-2].item.status) == (ends, "failed" if ends == "failed" else "incomplete")
    assert response.output == [heard[-2].item]
    assert await openai_client.responses.retrieve(response.id) == response
    if ends == "failed":
        assert response.error.code == "invalid_prompt"
        assert f"No vector store found with id '{store['id']}'" in response.error.message


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("in_conversation", [True, False])
async def test_a_refusal_leaves_no_search_behind(
    gateway: Gateway,
    worker: ScriptedWorker,
    openai_client: AsyncOpenAI,
    monkeypatch: pytest.MonkeyPatch,
    *,
    stream: bool,
    in_conversation: bool,
) -> None:
    monkeypatch.setattr("gateway.responses.stream.PATIENCE_SECONDS", 60.0)
    store_id, _ = await garden(gateway)
    fields = searching(store_id, stream=stream)
    if in_conversation:
        fields["conversation"] = (await openai_client.conversations.create()).id
    asking = asyncio.create_task(gateway.client.post("/v1/responses", json=fields))
    await (await worker.take()).fail(InvalidArgumentError("Too long.", code="context_length_exceeded"))
    async with await asking as answer:
        assert (answer.status, (await answer.json())["error"]["param"]) == (400, "input")
    if in_conversation:
        assert (await openai_client.conversations.items.list(fields["conversation"])).data == []
    else:
        assert (await gateway.json("GET", "/v1/threads"))["data"] == []


async def test_a_response_is_taken_over_behind_its_search(
    storage_server: StorageServer, redis_server: RedisServer, redis: Any, worker: ScriptedWorker
) -> None:
    """It is not searched again: by then the store may hold something else."""
    write_model(storage_server.janroot)
    async with running_gateway(storage_server, redis_server) as first:
        store_id, tomatoes = await garden(first)
        answer = await first.client.post("/v1/responses", json=searching(store_id, stream=True))
        [(_, created)] = parse_events((await answer.content.readuntil(b"\n\n")).decode())
        job = await worker.take()
        await job.begin()
        await job.say("In May [1")
        answer.close()
        await first.json("DELETE", f"/v1/vector_stores/{store_id}")
    async with running_gateway(storage_server, redis_server) as second:
        await job.say("].")
        await job.finish()
        path = f"/v1/responses/{created['response']['id']}"
        async with second.client.get(f"{path}?stream=true&starting_after=0") as response:
            events = parse_events(await response.text())
        assert [name for name, _ in events] == EVENTS[1:]
        assert [data["sequence_number"] for _, data in events] == list(range(1, len(events) + 1))
        whole = await second.json("GET", path)
        assert events[-1][1]["response"] == whole
        assert [one["file_id"] for one in whole["output"][1]["content"][0]["annotations"]] == [tomatoes]


async def test_a_response_in_the_background_searches(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    store_id, _ = await garden(gateway)
    response = await openai_client.responses.create(**searching(store_id, background=True))
    assert (response.status, response.output) == ("queued", [])
    await worker.answer(["May [1]"])
    ended = await until_status(openai_client, response, "completed")
    assert [item.type for item in ended.output] == ["file_search_call", "message"]
