"""Runs over real storage and a real queue, with a worker whose timing belongs to the test."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.runs.conversation import UNSEEN_IMAGE
from jan.errors import InvalidArgumentError, ResourceExhaustedError, UnavailableError
from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker

BEGINNING = [
    "thread.run.created",
    "thread.run.queued",
    "thread.run.in_progress",
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.message.created",
    "thread.message.in_progress",
]

NO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}

Event = tuple[str, Any]


async def new_thread(gateway: Gateway, *texts: str) -> str:
    messages = [{"role": "user", "content": text} for text in texts]
    thread = await gateway.json("POST", "/v1/threads", {"messages": messages})
    return str(thread["id"])


async def start(gateway: Gateway, thread_id: str, **fields: Any) -> Any:
    return await gateway.json("POST", f"/v1/threads/{thread_id}/runs", {"assistant_id": "jan", **fields})


async def until_ended(gateway: Gateway, run: Any) -> Any:
    """Poll as the SDKs do, but at once."""
    while run["status"] in ("queued", "in_progress", "cancelling"):
        run = await gateway.json("GET", f"/v1/threads/{run['thread_id']}/runs/{run['id']}")
    return run


async def read_events(gateway: Gateway, path: str, body: dict[str, Any]) -> list[Event]:
    async with gateway.client.post(path, json={"assistant_id": "jan", "stream": True, **body}) as response:
        assert response.status == 200, await response.text()
        return parse_events(await response.text())


def parse_events(text: str) -> list[Event]:
    events: list[Event] = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if fields:
            assert set(fields) == {"event", "data"}
            data = fields["data"]
            events.append((fields["event"], data if data == "[DONE]" else json.loads(data)))
    return events


async def texts(gateway: Gateway, thread_id: str) -> list[tuple[str, str]]:
    listed = await gateway.json("GET", f"/v1/threads/{thread_id}/messages?order=asc")
    return [(message["role"], message["content"][0]["text"]["value"]) for message in listed["data"]]


async def test_a_polled_run_puts_the_answer_into_the_thread(gateway: Gateway, worker: ScriptedWorker) -> None:
    thread_id = await new_thread(gateway, "Hi")
    run = await start(gateway, thread_id)
    assert (run["status"], run["model"], run["usage"]) == ("queued", MODEL_ID, None)
    await worker.answer(["Hello", " Ann"])
    ended = await until_ended(gateway, run)
    assert ended["status"] == "completed"
    assert ended["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    assert ended["completed_at"] >= ended["started_at"] >= ended["created_at"]
    assert await texts(gateway, thread_id) == [("user", "Hi"), ("assistant", "Hello Ann")]
    listed = await gateway.json("GET", f"/v1/threads/{thread_id}/messages?run_id={run['id']}")
    [message] = listed["data"]
    assert (message["run_id"], message["assistant_id"], message["status"]) == (run["id"], "jan", "completed")
    steps = await gateway.json("GET", f"/v1/threads/{thread_id}/runs/{run['id']}/steps")
    [step] = steps["data"]
    assert step["status"] == "completed"
    assert step["step_details"]["message_creation"]["message_id"] == message["id"]
    path = f"/v1/threads/{thread_id}/runs/{run['id']}/steps/{step['id']}"
    assert await gateway.json("GET", path) == step


async def test_the_model_sees_instructions_and_earlier_turns(gateway: Gateway, worker: ScriptedWorker) -> None:
    assistant = await gateway.json(
        "POST", "/v1/assistants", {"model": MODEL_ID, "instructions": "Be brief.", "temperature": 0.9}
    )
    thread_id = await new_thread(gateway, "one")
    for question, answer in (("two", "A1"), ("three", "A2")):
        run = await start(
            gateway,
            thread_id,
            assistant_id=assistant["id"],
            additional_instructions="In English.",
            additional_messages=[{"role": "user", "content": question}],
        )
        taken = await worker.answer([answer])
        await until_ended(gateway, run)
    assert taken.body["messages"] == [
        {"role": "system", "content": "Be brief.\nIn English."},
        {"role": "user", "content": "one"},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": "A1"},
        {"role": "user", "content": "three"},
    ]
    assert taken.body["temperature"] == 0.9


async def test_a_threads_overrides_hold_for_their_assistant_only(gateway: Gateway, worker: ScriptedWorker) -> None:
    other = await gateway.json(
        "POST", "/v1/assistants", {"model": MODEL_ID, "instructions": "From the other.", "top_p": 0.4}
    )
    overrides = {
        "assistant_id": "jan",
        "instructions": "From the thread.",
        "model": {"id": MODEL_ID, "parameters": {"temperature": "0.1", "token_limit": 300}},
    }
    body = {"assistants": [overrides], "messages": [{"role": "user", "content": "Hi"}]}
    thread_id = (await gateway.json("POST", "/v1/threads", body))["id"]
    run = await start(gateway, thread_id)
    taken = await worker.answer()
    await until_ended(gateway, run)
    assert taken.body["messages"][0] == {"role": "system", "content": "From the thread."}
    assert (taken.body["temperature"], taken.body["max_tokens"]) == (0.1, 300)
    run = await start(gateway, thread_id, assistant_id=other["id"], temperature=0.8)
    taken = await worker.answer()
    await until_ended(gateway, run)
    assert taken.body["messages"][0] == {"role": "system", "content": "From the other."}
    assert (taken.body["temperature"], taken.body["top_p"], "max_tokens" in taken.body) == (0.8, 0.4, False)


async def test_the_model_is_told_of_an_image_that_it_cannot_see(gateway: Gateway, worker: ScriptedWorker) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    content = [{"type": "text", "text": "What is this?"}, image]
    thread_id = (await gateway.json("POST", "/v1/threads", {"messages": [{"role": "user", "content": content}]}))["id"]
    run = await start(gateway, thread_id)
    taken = await worker.answer()
    await until_ended(gateway, run)
    assert taken.body["messages"] == [{"role": "user", "content": f"What is this?\n{UNSEEN_IMAGE}"}]


async def test_last_messages_cuts_what_the_model_sees(gateway: Gateway, worker: ScriptedWorker) -> None:
    thread_id = await new_thread(gateway, "one", "two", "three")
    strategy = {"type": "last_messages", "last_messages": 2}
    run = await start(gateway, thread_id, truncation_strategy=strategy, instructions="I")
    taken = await worker.answer()
    assert (await until_ended(gateway, run))["truncation_strategy"] == strategy
    assert [message["content"] for message in taken.body["messages"]] == ["I", "two", "three"]


async def test_a_stream_has_openais_events_in_openais_order(gateway: Gateway, worker: ScriptedWorker) -> None:
    thread_id = await new_thread(gateway, "Hi")
    reading = asyncio.create_task(read_events(gateway, f"/v1/threads/{thread_id}/runs", {}))
    await worker.answer(["a", "b"])
    events = await reading
    assert [name for name, _ in events] == [
        *BEGINNING,
        "thread.message.delta",
        "thread.message.delta",
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.completed",
        "done",
    ]
    by_name = dict(events)
    created, completed = by_name["thread.message.created"], by_name["thread.message.completed"]
    assert await gateway.json("GET", f"/v1/threads/{thread_id}/messages/{created['id']}") == completed
    assert completed["created_at"] == created["created_at"]
    assert by_name["thread.message.created"]["content"] == []
    assert by_name["thread.message.completed"]["content"][0]["text"]["value"] == "ab"
    deltas = [data["delta"]["content"][0]["text"] for name, data in events if name == "thread.message.delta"]
    assert deltas == [{"value": "a", "annotations": []}, {"value": "b"}]
    assert by_name["done"] == "[DONE]"


async def test_a_thread_can_be_made_and_run_in_one_request(gateway: Gateway, worker: ScriptedWorker) -> None:
    body = {"thread": {"messages": [{"role": "user", "content": "Hi"}], "metadata": {"a": "b"}}}
    reading = asyncio.create_task(read_events(gateway, "/v1/threads/runs", body))
    await worker.answer(["yes"])
    events = await reading
    assert [name for name, _ in events[:2]] == ["thread.created", "thread.run.created"]
    thread_id = events[0][1]["id"]
    assert events[0][1]["metadata"] == {"a": "b"}
    assert await texts(gateway, thread_id) == [("user", "Hi"), ("assistant", "yes")]


async def test_a_refused_request_leaves_no_thread_behind(gateway: Gateway) -> None:
    twice: dict[str, Any] = {"tool_resources": {}, "thread": {"tool_resources": {}}}
    for fields, status in (
        ({"model": "nobody"}, 404),
        ({"assistant_id": "nobody"}, 404),
        ({"tools": [{}]}, 400),
        (twice, 400),
    ):
        await gateway.json("POST", "/v1/threads/runs", {"assistant_id": "jan", "thread": {}, **fields}, status=status)
    assert (await gateway.json("GET", "/v1/threads"))["data"] == []


async def test_one_run_at_a_time(gateway: Gateway, worker: ScriptedWorker) -> None:
    thread_id = await new_thread(gateway, "Hi")
    run = await start(gateway, thread_id)
    path = f"/v1/threads/{thread_id}"
    error = (await gateway.json("POST", f"{path}/runs", {"assistant_id": "jan"}, status=400))["error"]
    assert error["message"] == f"Thread {thread_id} already has an active run {run['id']}."
    message = {"role": "user", "content": "me too"}
    error = (await gateway.json("POST", f"{path}/messages", message, status=400))["error"]
    assert error["message"] == f"Can't add messages to {thread_id} while a run {run['id']} is active."
    await worker.answer()
    await until_ended(gateway, run)
    await gateway.json("POST", f"{path}/messages", message)


async def test_cancelling_keeps_what_was_said(gateway: Gateway, worker: ScriptedWorker) -> None:
    thread_id = await new_thread(gateway, "Hi")
    reading = asyncio.create_task(read_events(gateway, f"/v1/threads/{thread_id}/runs", {}))
    job = await worker.take()
    await job.begin()
    await job.say("half")
    runs = (await gateway.json("GET", f"/v1/threads/{thread_id}/runs"))["data"]
    path = f"/v1/threads/{thread_id}/runs/{runs[0]['id']}/cancel"
    assert (await gateway.json("POST", path))["status"] == "cancelling"
    assert (await gateway.json("POST", path))["status"] == "cancelling"
    await job.until_cancelled()
    events = await reading
    assert [name for name, _ in events[-4:]] == [
        "thread.message.incomplete",
        "thread.run.step.cancelled",
        "thread.run.cancelled",
        "done",
    ]
    message = events[-4][1]
    assert message["incomplete_details"] == {"reason": "run_cancelled"}
    assert await texts(gateway, thread_id) == [("user", "Hi"), ("assistant", "half")]
    await gateway.json("POST", path, status=400)


async def test_cancelling_a_waiting_run_ends_it_unanswered(gateway: Gateway) -> None:
    thread_id = await new_thread(gateway, "Hi")
    run = await start(gateway, thread_id)
    await gateway.json("POST", f"/v1/threads/{thread_id}/runs/{run['id']}/cancel")
    ended = await until_ended(gateway, run)
    assert (ended["status"], ended["started_at"], ended["cancelled_at"] is None) == ("cancelled", None, False)
    assert await texts(gateway, thread_id) == [("user", "Hi")]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidArgumentError("Too long.", code="context_length_exceeded"), "invalid_prompt"),
        (ResourceExhaustedError("Busy."), "rate_limit_exceeded"),
        (UnavailableError("The engine crashed.", code="worker_lost"), "server_error"),
    ],
)
async def test_a_broken_answer_fails_the_run_and_keeps_what_was_said(
    gateway: Gateway, worker: ScriptedWorker, error: Any, code: str
) -> None:
    thread_id = await new_thread(gateway, "Hi")
    run = await start(gateway, thread_id)
    job = await worker.take()
    await job.begin()
    await job.say("half")
    await job.fail(error)
    ended = await until_ended(gateway, run)
    assert (ended["status"], ended["last_error"]) == ("failed", {"code": code, "message": error.message})
    assert await texts(gateway, thread_id) == [("user", "Hi"), ("assistant", "half")]


async def test_an_answer_that_was_cut_is_incomplete(gateway: Gateway, worker: ScriptedWorker) -> None:
    thread_id = await new_thread(gateway, "Hi")
    run = await start(gateway, thread_id, max_completion_tokens=256)
    job = await worker.take()
    assert job.body["max_tokens"] == 256
    await job.begin()
    await job.say("half")
    await job.finish("length")
    ended = await until_ended(gateway, run)
    assert (ended["status"], ended["incomplete_details"]) == ("incomplete", {"reason": "max_completion_tokens"})
    listed = await gateway.json("GET", f"/v1/threads/{thread_id}/messages?limit=1")
    assert listed["data"][0]["incomplete_details"] == {"reason": "max_tokens"}


async def test_a_run_goes_on_without_its_reader(gateway: Gateway, worker: ScriptedWorker) -> None:
    thread_id = await new_thread(gateway, "Hi")
    body = {"assistant_id": "jan", "stream": True}
    async with gateway.client.post(f"/v1/threads/{thread_id}/runs", json=body) as response:
        await response.content.readline()
        job = await worker.take()
        await job.begin()
    await job.say("still here")
    await job.finish()
    [run] = (await gateway.json("GET", f"/v1/threads/{thread_id}/runs"))["data"]
    assert (await until_ended(gateway, run))["status"] == "completed"


async def test_only_the_metadata_of_a_run_can_change(gateway: Gateway, worker: ScriptedWorker) -> None:
    thread_id = await new_thread(gateway, "Hi")
    run = await start(gateway, thread_id, metadata={"a": "1"})
    path = f"/v1/threads/{thread_id}/runs/{run['id']}"
    changed = await gateway.json("POST", path, {"metadata": {"b": "2"}, "status": "completed"})
    assert (changed["metadata"], changed["status"]) == ({"b": "2"}, "queued")
    assert (await gateway.json("POST", path, {}))["metadata"] == {"b": "2"}
    await worker.answer()
    assert (await until_ended(gateway, run))["metadata"] == {"b": "2"}


async def test_runs_are_listed_newest_first_and_paged(gateway: Gateway, worker: ScriptedWorker) -> None:
    thread_id = await new_thread(gateway, "Hi")
    ids = []
    for _ in range(3):
        run = await start(gateway, thread_id)
        await worker.answer()
        ids.append((await until_ended(gateway, run))["id"])
    listed = await gateway.json("GET", f"/v1/threads/{thread_id}/runs?limit=2")
    assert [run["id"] for run in listed["data"]] == ids[:0:-1]
    assert listed["has_more"]
    rest = await gateway.json("GET", f"/v1/threads/{thread_id}/runs?limit=2&after={listed['last_id']}")
    assert ([run["id"] for run in rest["data"]], rest["has_more"]) == ([ids[0]], False)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"assistant_id": 5}, "assistant_id"),
        ({"temperature": 3}, "temperature"),
        ({"max_completion_tokens": 255}, "max_completion_tokens"),
        ({"max_prompt_tokens": 255}, "max_prompt_tokens"),
        ({"truncation_strategy": {"type": "last_messages"}}, "truncation_strategy"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"additional_messages": [{"role": "robot", "content": "x"}]}, "additional_messages[0].role"),
    ],
)
async def test_a_bad_field_is_named_and_nothing_runs(gateway: Gateway, fields: dict[str, Any], param: str) -> None:
    thread_id = await new_thread(gateway, "Hi")
    body = {"assistant_id": "jan", **fields}
    error = (await gateway.json("POST", f"/v1/threads/{thread_id}/runs", body, status=400))["error"]
    assert (error["param"] or "").startswith(param)
    assert (await gateway.json("GET", f"/v1/threads/{thread_id}/runs"))["data"] == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1/threads/jan_1/runs/run_1",
        "/v1/threads/jan_1/runs/run_1/steps",
        "/v1/threads/jan_1/runs",
        "/v1/threads/jan_1/runs/..%2f..%2fetc",
        "/v1/threads/%00/runs/x",
        "/v1/threads/jan_1/runs/run_1/steps/" + "x" * 1000,
    ],
)
async def test_what_is_not_there_is_not_found(gateway: Gateway, path: str) -> None:
    error = (await gateway.json("GET", path, status=404))["error"]
    assert error["type"] == "invalid_request_error"
