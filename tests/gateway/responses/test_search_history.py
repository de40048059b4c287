"""A search of files in what comes behind it: the next response, calls, branches, histories that clients keep, runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.fixtures.gateway import Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.responses.test_file_search import QUESTION, RESULTS, garden, say, search, searching, told_excerpts
from tests.gateway.responses.test_responses import respond
from tests.gateway.responses.test_streams import TOOLS
from tests.gateway.routes.test_runs import start, until_ended

USER = {"role": "user", "content": "So?"}


@pytest.mark.parametrize("store", [True, False])
async def test_a_call_beside_a_search_is_answered_without_another_one(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI, store: bool
) -> None:
    """Nobody has asked anything meanwhile: the model is told the same once more, and its marks mean the same."""
    store_id, tomatoes = await garden(gateway)
    fields = searching(store_id, store=store, include=RESULTS)
    fields["tools"].append(TOOLS[0])
    asking = asyncio.create_task(openai_client.responses.create(**fields))
    job = await worker.take()
    assert [tool["function"]["name"] for tool in job.body["tools"]] == ["weather"]
    excerpts = told_excerpts(job)
    await job.begin()
    await job.call(0, "weather", "{}")
    await job.finish("tool_calls")
    first = await asking
    assert [item.type for item in first.output] == ["file_search_call", "function_call"]
    output = {"type": "function_call_output", "call_id": "call_weather_0", "output": "Frost."}
    before: Any = {"previous_response_id": first.id, "input": [output]}
    if not store:
        sent = [item.to_dict() for item in first.output]
        before = {"input": [{"role": "user", "content": QUESTION}, *sent, output]}
    asking = asyncio.create_task(openai_client.responses.create(**(fields | before)))
    job = await worker.take()
    assert told_excerpts(job) == excerpts
    assert [message["role"] for message in job.body["messages"]] == ["system", "user", "assistant", "tool"]
    await say(job, "Not before May [1].")
    second = await asking
    [answer] = second.model_dump()["output"]
    assert [one["file_id"] for one in answer["content"][0]["annotations"]] == [tomatoes]


async def test_the_next_question_is_searched_for_itself(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    store_id, _ = await garden(gateway)
    first, _ = await respond(openai_client, worker, "May [1]", **searching(store_id))
    fields = searching(store_id, input="When are roses cut?", previous_response_id=first.id)
    second, body = await respond(openai_client, worker, "March [1]", **fields)
    told = body["messages"][0]["content"]
    assert "Roses are cut in March" in told
    assert "tomatoes" not in told
    assert [one["content"] for one in body["messages"][1:]] == [QUESTION, "May [1]", "When are roses cut?"]
    assert second.model_dump()["thread_id"] == first.model_dump()["thread_id"]
    # Without a search of its own, or with one that finds nothing, it is told what was found last.
    for fields in ({"tools": []}, {"tools": [search(store_id)]}, {"tool_choice": "none", "tools": [search(store_id)]}):
        third, body = await respond(
            openai_client, worker, "So [1]", input="Why?", previous_response_id=second.id, store=False, **fields
        )
        assert "Roses are cut in March" in body["messages"][0]["content"]
        answer: Any = third.output[-1]
        assert [one.filename for one in answer.content[0].annotations] == ["roses.txt"]


@pytest.mark.parametrize("with_results", [True, False])
async def test_a_client_that_keeps_its_own_history_sends_the_search_back(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI, with_results: bool
) -> None:
    store_id, _ = await garden(gateway)
    include: Any = RESULTS if with_results else []
    first, _ = await respond(openai_client, worker, "May [1]", **searching(store_id, store=False, include=include))
    sent: Any = [
        {"role": "user", "content": QUESTION},
        *(item.to_dict() for item in first.output),
        {"role": "user", "content": "Sure?"},
    ]
    second, body = await respond(openai_client, worker, "Yes [1]", input=sent)
    assert ("Plant tomatoes in May" in body["messages"][0]["content"]) is with_results
    assert [one["content"] for one in body["messages"][-3:]] == [QUESTION, "May [1]", "Sure?"]
    answer: Any = second.output[0]
    assert len(answer.content[0].annotations) == with_results
    kept = (await openai_client.responses.input_items.list(second.id, order="asc", include=RESULTS)).data
    assert [item.type for item in kept] == ["message", "file_search_call", "message", "message"]
    called = kept[1].model_dump()
    assert (called["queries"], called["results"]) == ([QUESTION], first.output[0].model_dump()["results"])


async def test_the_thread_is_read_and_gone_on_with_by_the_assistants_api(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    store_id, tomatoes = await garden(gateway)
    response, _ = await respond(openai_client, worker, "May [1]", **searching(store_id))
    thread_id = response.model_dump()["thread_id"]
    page = await gateway.json("GET", f"/v1/threads/{thread_id}/messages?order=asc")
    assert [message["role"] for message in page["data"]] == ["user", "assistant", "assistant"]
    _, searched, answer = page["data"]
    assert searched["content"] == [{"type": "file_search_call", "status": "completed", "queries": [QUESTION]}]
    [annotation] = answer["content"][0]["text"]["annotations"]
    assert (annotation["text"], annotation["file_citation"]["file_id"]) == ("[1]", tomatoes)
    [run] = (await gateway.json("GET", f"/v1/threads/{thread_id}/runs"))["data"]
    assert run["tools"][0]["file_search"]["vector_store_ids"] == [store_id]
    added = {"role": "user", "content": "Sure?"}
    await gateway.json("POST", f"/v1/threads/{thread_id}/messages", added)
    run = await start(gateway, thread_id)
    job = await worker.take()
    assert "Plant tomatoes in May" in told_excerpts(job)
    assert [one["content"] for one in job.body["messages"][1:]] == [QUESTION, "May [1]", "Sure?"]
    await say(job, "Yes [1]")
    await until_ended(gateway, run)
    listed = await gateway.json("GET", f"/v1/threads/{thread_id}/messages?run_id={run['id']}")
    assert len(listed["data"][0]["content"][0]["text"]["annotations"]) == 1


async def test_a_branch_keeps_the_search(gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    store_id, _ = await garden(gateway)
    first, _ = await respond(openai_client, worker, "May [1]", **searching(store_id))
    await respond(openai_client, worker, "One", input="Or?", previous_response_id=first.id)
    branch, body = await respond(openai_client, worker, "Two [1]", input="And?", previous_response_id=first.id)
    assert "Plant tomatoes in May" in body["messages"][0]["content"]
    conversation = f"conv_{branch.model_dump()['thread_id']}"
    items = (await openai_client.conversations.items.list(conversation, order="asc")).data
    assert items[1] == first.output[0]
    referred, _ = await respond(openai_client, worker, input=[{"type": "item_reference", "id": items[1].id}, USER])
    kept = (await openai_client.responses.input_items.list(referred.id, order="asc")).data
    assert [item.type for item in kept] == ["file_search_call", "message"]
    await openai_client.responses.delete(branch.id)
    assert (await openai_client.conversations.items.list(conversation)).data[-1].id == items[0].id


async def test_a_search_that_leaves_things_out_is_read(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    """OpenAI's document asks for none of what a result has."""
    called = {"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": [QUESTION]}
    sent: Any = [called | {"results": [{"text": "Plant tomatoes in May"}]}, USER]
    response, body = await respond(openai_client, worker, "May [1]", input=sent)
    assert "[1] \nPlant tomatoes in May" in body["messages"][0]["content"]
    answer: Any = response.output[0]
    assert [one.filename for one in answer.content[0].annotations] == [""]


async def test_a_question_far_in_front_of_its_calls_is_searched_for(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    store_id, _ = await garden(gateway)
    calls: list[Any] = []
    for number in range(12):
        named = {"call_id": f"call_{number}"}
        calls.append({"type": "function_call", "name": "weather", "arguments": "{}", **named})
        calls.append({"type": "function_call_output", "output": "Sunny.", **named})
    sent = [{"role": "user", "content": QUESTION}, *calls]
    response, body = await respond(openai_client, worker, **searching(store_id, input=sent))
    assert [item.type for item in response.output] == ["file_search_call", "message"]
    assert "Plant tomatoes in May" in body["messages"][0]["content"]
