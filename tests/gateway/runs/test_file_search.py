"""The tool file_search in runs: searched before the model is asked, told to it, cited, and shown as a step."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from openai import AsyncAssistantEventHandler, AsyncOpenAI
from openai.types.beta.threads import Message, Text, TextDelta
from openai.types.beta.threads.runs import RunStep, ToolCall
from typing_extensions import override

from gateway.vector_stores.excerpts import Excerpt, citations, with_excerpts
from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.client import upload
from tests.gateway.routes.test_runs import parse_events, read_events, start, until_ended

TOOL = {"type": "file_search"}
CONTENT = "step_details.tool_calls[*].file_search.results[*].content"


async def new_store(gateway: Gateway, **texts: str) -> tuple[str, list[str]]:
    """A vector store with files that are processed; their ids."""
    files = [await upload(gateway.client, text.encode(), f"{name}.txt") for name, text in texts.items()]
    ids = [file["id"] for file in files]
    store = await gateway.json("POST", "/v1/vector_stores", {"file_ids": ids})
    while store["status"] == "in_progress":
        store = await gateway.json("GET", f"/v1/vector_stores/{store['id']}")
    assert store["file_counts"]["completed"] == len(texts)
    return store["id"], ids


async def asking_thread(gateway: Gateway, store_id: str, question: str = "When do I plant tomatoes?") -> str:
    resources = {"file_search": {"vector_store_ids": [store_id]}}
    messages = [{"role": "user", "content": question}]
    thread = await gateway.json("POST", "/v1/threads", {"messages": messages, "tool_resources": resources})
    return str(thread["id"])


async def test_an_answer_cites_what_was_found(gateway: Gateway, worker: ScriptedWorker) -> None:
    texts = {"roses": "Roses are cut in March", "tomatoes": "Plant tomatoes in May"}
    store_id, [roses, tomatoes] = await new_store(gateway, **texts)
    thread_id = await asking_thread(gateway, store_id)
    run = await start(gateway, thread_id, tools=[TOOL], instructions="Be brief.")
    job = await worker.take()
    system, question = job.body["messages"]
    assert system["content"].startswith("Be brief.\n\n")
    assert "[1] tomatoes.txt\nPlant tomatoes in May" in system["content"]
    assert question == {"role": "user", "content": "When do I plant tomatoes?"}
    assert "tools" not in job.body
    await job.begin()
    await job.say("In May [1", "]. Not [9].")
    await job.finish()
    assert (await until_ended(gateway, run))["status"] == "completed"

    listed = await gateway.json("GET", f"/v1/threads/{thread_id}/messages?run_id={run['id']}")
    message = Message.model_validate(listed["data"][0])
    [annotation] = message.content[0].text.annotations  # type: ignore[union-attr]
    assert annotation.text == "[1]"
    assert (annotation.start_index, annotation.end_index) == (7, 10)
    assert annotation.file_citation.file_id == tomatoes  # type: ignore[union-attr]

    path = f"/v1/threads/{thread_id}/runs/{run['id']}/steps"
    steps = (await gateway.json("GET", f"{path}?order=asc"))["data"]
    assert [step["type"] for step in steps] == ["tool_calls", "message_creation"]
    found = RunStep.model_validate(steps[0]).step_details.tool_calls[0].file_search  # type: ignore[union-attr]
    assert found.results is not None
    assert [(result.file_id, result.file_name, result.content) for result in found.results] == [
        (tomatoes, "tomatoes.txt", None)
    ]
    shown = await gateway.json("GET", f"{path}/{steps[0]['id']}?include[]={CONTENT}")
    [result] = shown["step_details"]["tool_calls"][0]["file_search"]["results"]
    assert result["content"] == [{"type": "text", "text": "Plant tomatoes in May"}]
    assert roses not in json.dumps(shown)


async def test_a_stream_tells_of_the_search_first(gateway: Gateway, worker: ScriptedWorker) -> None:
    store_id, _ = await new_store(gateway, a="Plant tomatoes in May")
    thread_id = await asking_thread(gateway, store_id)

    async def answer() -> None:
        job = await worker.take()
        await job.begin()
        await job.say("In May [1].")
        await job.finish()

    answering = asyncio.create_task(answer(), name="answer")
    events = await read_events(gateway, f"/v1/threads/{thread_id}/runs", {"tools": [TOOL]})
    await answering
    assert [name.removeprefix("thread.") for name, _ in events] == [
        "run.created",
        "run.queued",
        "run.in_progress",
        "run.step.created",
        "run.step.in_progress",
        "run.step.delta",
        "run.step.completed",
        "run.step.created",
        "run.step.in_progress",
        "message.created",
        "message.in_progress",
        "message.delta",
        "message.completed",
        "run.step.completed",
        "run.completed",
        "done",
    ]
    assert events[3][1]["step_details"] == {"type": "tool_calls", "tool_calls": []}
    assert events[3][1]["usage"] is None
    assert "content" not in events[6][1]["step_details"]["tool_calls"][0]["file_search"]["results"][0]


async def test_a_stream_tells_the_texts_that_were_found_to_who_asks_for_them(
    gateway: Gateway, worker: ScriptedWorker
) -> None:
    store_id, _ = await new_store(gateway, a="Plant tomatoes in May")
    path = f"/v1/threads/{await asking_thread(gateway, store_id)}/runs"
    body = {"assistant_id": "jan", "model": MODEL_ID, "tools": [TOOL]}
    refused = await gateway.json("POST", f"{path}?include[]=everything", body, status=400)
    assert refused["error"]["param"] == "include"
    assert (await gateway.json("GET", path))["data"] == []
    answering = asyncio.create_task(worker.answer(), name="answer")
    streamed = await read_events(gateway, f"{path}?include[]={CONTENT}", {"tools": [TOOL]})
    await answering
    run_id = streamed[0][1]["id"]
    async with gateway.client.get(f"{path}/{run_id}?stream=true&include={CONTENT}") as answer:
        again = parse_events(await answer.text())
    for events in (streamed, again):
        searched = next(data for name, data in events if name == "thread.run.step.completed")
        [result] = searched["step_details"]["tool_calls"][0]["file_search"]["results"]
        assert result["content"] == [{"type": "text", "text": "Plant tomatoes in May"}]


class Heard(AsyncAssistantEventHandler):
    """What OpenAI's quickstart prints of a run: its tools, its words, and its citations as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.cited: list[Any] = []

    @override
    async def on_tool_call_created(self, tool_call: ToolCall) -> None:
        self.told.append(f"created {tool_call.type}")

    @override
    async def on_tool_call_done(self, tool_call: ToolCall) -> None:
        self.told.append(f"done {tool_call.type}")

    @override
    async def on_text_delta(self, delta: TextDelta, snapshot: Text) -> None:
        self.told.append(delta.value or "")
        self.cited += delta.annotations or []


@pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning")  # Assistants is what we are a home for
async def test_the_sdks_handler_hears_of_the_search_and_of_each_citation(
    gateway: Gateway, worker: ScriptedWorker
) -> None:
    store_id, [file_id] = await new_store(gateway, a="Plant tomatoes in May")
    thread_id = await asking_thread(gateway, store_id)

    async def answer() -> None:
        job = await worker.take()
        await job.begin()
        await job.say("In May [", "1", "]. So", " says [1].")
        await job.finish()

    answering = asyncio.create_task(answer(), name="answer")
    heard = Heard()
    tools: Any = [TOOL]
    async with (
        AsyncOpenAI(base_url=f"{gateway.url}v1", api_key="unused", max_retries=0) as client,
        client.beta.threads.runs.stream(
            thread_id=thread_id, assistant_id="jan", tools=tools, event_handler=heard
        ) as stream,
    ):
        await stream.until_done()
        [message] = await stream.get_final_messages()
    await answering
    assert heard.told[:3] == ["created file_search", "done file_search", "In May ["]
    assert [(each.index, each.text, each.start_index, each.end_index) for each in heard.cited] == [
        (0, "[1]", 7, 10),
        (1, "[1]", 20, 23),
    ]
    assert {each.file_citation.file_id for each in heard.cited} == {file_id}
    whole = message.content[0].text.annotations  # type: ignore[union-attr]
    assert [each.to_dict() for each in whole] == [
        {name: value for name, value in each.to_dict().items() if name != "index"} for each in heard.cited
    ]


@pytest.mark.parametrize("asked", [{"tool_choice": "none"}, {"tools": []}])
async def test_no_search_unless_it_is_wanted(gateway: Gateway, worker: ScriptedWorker, asked: dict[str, Any]) -> None:
    store_id, _ = await new_store(gateway, a="Plant tomatoes in May")
    run = await start(gateway, await asking_thread(gateway, store_id), **({"tools": [TOOL]} | asked))
    job = await worker.take()
    assert [message["role"] for message in job.body["messages"]] == ["user"]
    await job.begin()
    await job.finish()
    assert (await until_ended(gateway, run))["status"] == "completed"


async def test_a_store_that_is_gone_ends_the_run(gateway: Gateway, worker: ScriptedWorker) -> None:
    """By a fault of the caller: `server_error` would say that it is ours."""
    del worker
    store_id, _ = await new_store(gateway, a="Plant tomatoes in May")
    thread_id = await asking_thread(gateway, store_id)
    await gateway.json("DELETE", f"/v1/vector_stores/{store_id}")
    ended = await until_ended(gateway, await start(gateway, thread_id, tools=[TOOL]))
    assert (ended["status"], ended["last_error"]["code"]) == ("failed", "invalid_prompt")
    message = f"The files cannot be searched: No vector store found with id '{store_id}'."
    assert ended["last_error"]["message"] == message


@pytest.mark.parametrize("unknown", ["vs_0123456789abcdef01234567", "../x", "\u00e4"])
async def test_a_store_that_is_not_there_is_refused_by_name(gateway: Gateway, unknown: str) -> None:
    """Where it is named, so that nothing is made that could only fail."""
    resources = {"tool_resources": {"file_search": {"vector_store_ids": [unknown]}}}
    thread = await gateway.json("POST", "/v1/threads")
    assistant = await gateway.json("POST", "/v1/assistants", {"model": MODEL_ID})
    asked: list[tuple[str, dict[str, Any], str]] = [
        ("/v1/assistants", {"model": MODEL_ID, **resources}, ""),
        (f"/v1/assistants/{assistant['id']}", resources, ""),
        ("/v1/threads", resources, ""),
        (f"/v1/threads/{thread['id']}", resources, ""),
        ("/v1/threads/runs", {"assistant_id": "jan", **resources}, ""),
        ("/v1/threads/runs", {"assistant_id": "jan", "thread": resources}, "thread."),
    ]
    for path, body, before in asked:
        error = (await gateway.json("POST", path, body, status=400))["error"]
        assert error["param"] == f"{before}tool_resources.file_search.vector_store_ids[0]"
        assert "No vector store found with id" in error["message"]
    assert len((await gateway.json("GET", "/v1/threads"))["data"]) == 1
    assert await gateway.json("GET", f"/v1/threads/{thread['id']}") == thread
    assert await gateway.json("GET", f"/v1/assistants/{assistant['id']}") == assistant


async def test_a_file_that_is_not_there_is_refused_by_name(gateway: Gateway) -> None:
    there = (await upload(gateway.client))["id"]

    def resources(*file_ids: str) -> dict[str, Any]:
        return {"tool_resources": {"code_interpreter": {"file_ids": list(file_ids)}}}

    for path, fields in (("assistants", {"model": MODEL_ID}), ("threads", {})):
        await gateway.json("POST", f"/v1/{path}", fields | resources(there))
        for unknown in ("file-0123456789abcdef01234567", "../x"):
            error = (await gateway.json("POST", f"/v1/{path}", fields | resources(there, unknown), status=400))["error"]
            assert error["param"] == "tool_resources.code_interpreter.file_ids[1]"
            assert error["message"] == f"No file found with id '{unknown}'."


async def test_a_cancel_ends_the_wait_for_files(
    gateway: Gateway, worker: ScriptedWorker, held_back: threading.Event
) -> None:
    try:
        file = await upload(gateway.client, b"Plant tomatoes in May", "a.txt")
        store = await gateway.json("POST", "/v1/vector_stores", {"file_ids": [file["id"]]})
        thread_id = await asking_thread(gateway, store["id"])
        run = await start(gateway, thread_id, tools=[TOOL])
        path = f"/v1/threads/{thread_id}/runs/{run['id']}"
        assert (await gateway.json("POST", f"{path}/cancel"))["status"] == "cancelling"
        assert (await until_ended(gateway, run))["status"] == "cancelled"
        assert (await gateway.json("GET", f"/v1/vector_stores/{store['id']}"))["status"] == "in_progress"
        assert (await gateway.json("GET", f"{path}/steps"))["data"] == []
    finally:
        held_back.set()
    await start(gateway, thread_id)
    assert (await worker.take()).body["messages"][-1]["content"] == "When do I plant tomatoes?"


async def test_resources_may_stand_beside_the_new_thread(gateway: Gateway, worker: ScriptedWorker) -> None:
    store_id, _ = await new_store(gateway, a="Plant tomatoes in May")
    resources = {"file_search": {"vector_store_ids": [store_id]}}
    thread = {"messages": [{"role": "user", "content": "When do I plant tomatoes?"}]}
    body = {"assistant_id": "jan", "thread": thread, "tools": [TOOL], "tool_resources": resources}
    run = await gateway.json("POST", "/v1/threads/runs", body)
    assert "Plant tomatoes in May" in (await worker.take()).body["messages"][0]["content"]
    assert (await gateway.json("GET", f"/v1/threads/{run['thread_id']}"))["tool_resources"] == resources


async def test_a_search_beside_functions(gateway: Gateway, worker: ScriptedWorker) -> None:
    store_id, _ = await new_store(gateway, a="Plant tomatoes in May")
    function = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    thread_id = await asking_thread(gateway, store_id)
    run = await start(gateway, thread_id, tools=[TOOL, function], tool_choice={"type": "file_search"})
    job = await worker.take()
    assert [tool["function"]["name"] for tool in job.body["tools"]] == ["weather"]
    assert job.body["tool_choice"] == "auto"
    await job.begin()
    await job.call(0, "weather", "{}")
    await job.finish("tool_calls")
    waiting = await until_ended(gateway, run)
    outputs = {"tool_outputs": [{"tool_call_id": "call_weather_0", "output": "sunny"}]}
    await gateway.json("POST", f"/v1/threads/{thread_id}/runs/{run['id']}/submit_tool_outputs", outputs)
    second = await worker.take()
    assert "Plant tomatoes in May" in second.body["messages"][0]["content"]
    await second.begin()
    await second.say("May [1]")
    await second.finish()
    await until_ended(gateway, waiting | {"status": "queued"})
    listed = await gateway.json("GET", f"/v1/threads/{thread_id}/messages?run_id={run['id']}")
    assert len(listed["data"][0]["content"][0]["text"]["annotations"]) == 1


async def test_what_is_far_off_is_not_told(gateway: Gateway, worker: ScriptedWorker) -> None:
    filler = " ".join(f"word{number}" for number in range(300))
    store_id, _ = await new_store(gateway, near="Plant tomatoes in May", far=f"When trains leave {filler}")
    await start(gateway, await asking_thread(gateway, store_id), tools=[TOOL])
    told = (await worker.take()).body["messages"][0]["content"]
    assert "near.txt" in told
    assert "far.txt" not in told


def test_marks_and_excerpts() -> None:
    results = [Excerpt("file-a", "a", "x", 1.0)]
    assert [mark["text"] for mark in citations("é[1] [0] [2] [x] [01]", results)] == ["[1]", "[01]"]
    assert citations("é[1]", results)[0]["start_index"] == 1
    assert with_excerpts([{"role": "user", "content": "q"}], []) == [{"role": "user", "content": "q"}]
    assert with_excerpts([{"role": "user", "content": "q"}], results)[0]["role"] == "system"
