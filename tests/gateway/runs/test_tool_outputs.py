"""Function tools in runs: the calls that a run waits for, and their outputs."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.keys import RUNS, STORAGE
from gateway.runs import executor as executor_module
from jan.errors import ConflictError, UnavailableError
from tests.fixtures.gateway import Gateway
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.routes.test_runs import new_thread, read_events, start, texts, until_ended
from tests.gateway.runs.tool_runs import (
    TOOLS,
    outputs,
    path_of,
    steps_of,
    submitted,
    until_over,
    waiting_run,
)


@pytest.fixture(autouse=True)
def quick_reconciler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_module, "RECONCILE_SECONDS", 0.05)


async def test_a_run_waits_for_outputs_and_answers_with_them(gateway: Gateway, worker: ScriptedWorker) -> None:
    run = await waiting_run(gateway, worker)
    call: dict[str, Any] = {
        "id": "call_weather_0",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
    }
    assert run["required_action"] == {
        "type": "submit_tool_outputs",
        "submit_tool_outputs": {"tool_calls": [call]},
    }
    assert (run["usage"], run["completed_at"], run["tools"]) == (None, None, TOOLS)
    [step] = await steps_of(gateway, run)
    assert (step["type"], step["status"], step["usage"]) == ("tool_calls", "in_progress", None)
    open_call = call | {"function": call["function"] | {"output": None}}
    assert step["step_details"] == {"type": "tool_calls", "tool_calls": [open_call]}

    queued = await submitted(gateway, run, ("call_weather_0", "sunny"))
    assert (queued["status"], queued["required_action"]) == ("queued", None)
    second = await worker.take()
    assert second.job.id == f"{run['id']}.2"
    assert second.body["messages"] == [
        {"role": "user", "content": "Weather in Rome?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_weather_0", "content": "sunny"},
    ]
    await second.begin()
    await second.say("It is sunny.")
    await second.finish()
    ended = await until_ended(gateway, queued)
    assert (ended["status"], ended["usage"]["prompt_tokens"], ended["usage"]["completion_tokens"]) == (
        "completed",
        14,
        6,
    )
    tools, message = await steps_of(gateway, run)
    assert tools["step_details"]["tool_calls"][0]["function"]["output"] == "sunny"
    assert (tools["status"], message["type"], message["status"]) == ("completed", "message_creation", "completed")
    assert [step["usage"]["total_tokens"] for step in (tools, message)] == [10, 10]
    assert await texts(gateway, run["thread_id"]) == [("user", "Weather in Rome?"), ("assistant", "It is sunny.")]


@pytest.mark.parametrize(
    "given",
    [
        [],
        [("call_weather_0", "x"), ("call_weather_0", "y")],
        [("call_other", "x")],
        [("call_weather_0", "x"), ("call_other", "y")],
    ],
)
async def test_outputs_that_are_not_those_of_its_calls_change_nothing(
    gateway: Gateway, worker: ScriptedWorker, given: list[tuple[str, str]]
) -> None:
    run = await waiting_run(gateway, worker)
    steps = await steps_of(gateway, run)
    answer = await gateway.json("POST", f"{path_of(run)}/submit_tool_outputs", outputs(*given), status=400)
    assert answer["error"]["message"] == (
        f"Expected tool outputs for call_ids ['call_weather_0'], got {[id_ for id_, _ in given]}"
    )
    assert answer["error"]["type"] == "invalid_request_error"
    assert await gateway.json("GET", path_of(run)) == run
    assert await steps_of(gateway, run) == steps


async def test_a_run_that_does_not_wait_takes_no_outputs(gateway: Gateway, worker: ScriptedWorker) -> None:
    run = await start(gateway, await new_thread(gateway, "Hi"), tools=TOOLS)
    submit = f"{path_of(run)}/submit_tool_outputs"
    error = (await gateway.json("POST", submit, outputs(("call_x", "y")), status=400))["error"]
    assert error["message"] == 'Runs in status "queued" do not accept tool outputs.'
    await worker.answer()
    await until_ended(gateway, run)
    error = (await gateway.json("POST", submit, outputs(("call_x", "y")), status=400))["error"]
    assert error["message"] == 'Runs in status "completed" do not accept tool outputs.'
    for body in ({}, {"tool_outputs": [{"output": "x"}]}, {"tool_outputs": [{"tool_call_id": "x", "output": 5}]}):
        await gateway.json("POST", submit, body, status=400)
    missing = f"/v1/threads/{run['thread_id']}/runs/run_none/submit_tool_outputs"
    await gateway.json("POST", missing, outputs(("call_x", "y")), status=404)


async def test_a_waiting_run_holds_its_thread_and_can_be_cancelled(gateway: Gateway, worker: ScriptedWorker) -> None:
    run = await waiting_run(gateway, worker)
    path = f"/v1/threads/{run['thread_id']}"
    await gateway.json("POST", f"{path}/messages", {"role": "user", "content": "me"}, status=400)
    await gateway.json("POST", f"{path}/runs", {"assistant_id": "jan"}, status=400)
    cancelled = await gateway.json("POST", f"{path_of(run)}/cancel")
    assert (cancelled["status"], cancelled["required_action"]) == ("cancelled", None)
    assert cancelled["cancelled_at"] >= run["created_at"]
    [step] = await steps_of(gateway, run)
    assert (step["status"], step["cancelled_at"] is None) == ("cancelled", False)
    error = (await gateway.json("POST", f"{path_of(run)}/submit_tool_outputs", outputs(("x", "y")), status=400))[
        "error"
    ]
    assert error["message"] == 'Runs in status "cancelled" do not accept tool outputs.'
    await gateway.json("POST", f"{path_of(run)}/cancel", status=400)
    await gateway.json("POST", f"{path}/messages", {"role": "user", "content": "me"})


async def test_a_run_that_waits_too_long_expires(gateway: Gateway, worker: ScriptedWorker) -> None:
    run = await waiting_run(gateway, worker)
    gateway.app[RUNS]._deadlines[run["id"]] = 0.0
    while run["status"] != "expired":
        run = await gateway.json("GET", path_of(run))
        assert run["status"] in {"requires_action", "expired"}
    assert (run["required_action"], run["last_error"]) == (None, None)
    [step] = await steps_of(gateway, run)
    assert (step["status"], step["expired_at"] is None) == ("expired", False)


async def test_outputs_whose_first_write_was_not_answered_are_written_once(
    gateway: Gateway, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await waiting_run(gateway, worker)
    storage = gateway.app[STORAGE]
    update_run = storage.update_run

    async def answered_late(*arguments: Any) -> Any:
        monkeypatch.setattr(storage, "update_run", update_run)
        await update_run(*arguments)
        raise ConflictError("It was written already.")

    monkeypatch.setattr(storage, "update_run", answered_late)
    assert (await submitted(gateway, run, ("call_weather_0", "sunny")))["status"] == "queued"
    taken = await worker.answer()
    assert taken.job.id == f"{run['id']}.2"
    assert (await until_over(gateway, run))["status"] == "completed"


async def test_outputs_that_are_sent_again_under_their_key_begin_one_round(
    gateway: Gateway, worker: ScriptedWorker, redis: Any
) -> None:
    run = await waiting_run(gateway, worker)
    submit, body = f"{path_of(run)}/submit_tool_outputs", outputs(("call_weather_0", "sunny"))
    for sending in range(2):
        await redis.flushall()  # the first answer is forgotten, as by a gateway that died behind the write
        async with gateway.client.post(submit, json=body, headers={"Idempotency-Key": "k"}) as response:
            assert (response.status, (await response.json())["status"]) == (200, "queued"), sending
    await worker.answer()
    assert (await until_over(gateway, run))["status"] == "completed"
    await gateway.json("POST", submit, body, status=400)


async def test_a_cancel_while_the_calls_are_written_ends_the_run(gateway: Gateway, worker: ScriptedWorker) -> None:
    thread_id = await new_thread(gateway, "Hi")
    reading = asyncio.create_task(read_events(gateway, f"/v1/threads/{thread_id}/runs", {"tools": TOOLS}))
    job = await worker.take()
    await job.begin()
    await job.call(0, "weather", "{")
    [run] = (await gateway.json("GET", f"/v1/threads/{thread_id}/runs"))["data"]
    await gateway.json("POST", f"{path_of(run)}/cancel")
    await job.finish("tool_calls")
    assert [name for name, _ in await reading][-3:] == ["thread.run.step.cancelled", "thread.run.cancelled", "done"]
    [step] = await steps_of(gateway, run)
    assert (step["status"], step["step_details"]["tool_calls"][0]["function"]["name"]) == ("cancelled", "weather")


async def test_a_call_that_was_cut_off_is_not_asked_for(gateway: Gateway, worker: ScriptedWorker) -> None:
    run = await start(gateway, await new_thread(gateway, "Hi"), tools=TOOLS, max_completion_tokens=256)
    job = await worker.take()
    await job.begin()
    await job.call(0, "weather", '{"ci')
    await job.finish("length")
    ended = await until_ended(gateway, run)
    assert (ended["status"], ended["incomplete_details"]) == ("incomplete", {"reason": "max_completion_tokens"})
    assert [step["status"] for step in await steps_of(gateway, run)] == ["cancelled"]


async def test_a_line_of_the_file_says_what_a_run_waits_for(
    gateway: Gateway, worker: ScriptedWorker, storage_server: StorageServer
) -> None:
    run = await waiting_run(gateway, worker)
    file = storage_server.janroot / "threads" / run["thread_id"] / "runs.jsonl"
    step, record = map(json.loads, (await asyncio.to_thread(file.read_text)).splitlines()[-2:])
    assert (record["status"], record["required_action"], record["round"]) == (
        "requires_action",
        run["required_action"],
        1,
    )
    assert step["step_details"]["tool_calls"][0]["id"] == "call_weather_0"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "code_interpreter"}]}, "tools[0].type"),
        ({"tools": [{"type": "retrieval", "enabled": True}]}, "tools[0].type"),
        ({"tools": TOOLS, "tool_choice": {"type": "code_interpreter"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "nobody"}}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "file_search"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function"}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": TOOLS * 11}, "tools"),
    ],
)
async def test_what_cannot_be_called_is_refused(gateway: Gateway, fields: dict[str, Any], param: str) -> None:
    thread_id = await new_thread(gateway, "Hi")
    error = await gateway.json("POST", f"/v1/threads/{thread_id}/runs", {"assistant_id": "jan"} | fields, status=400)
    assert error["error"]["param"].startswith(param)
    assert (await gateway.json("GET", f"/v1/threads/{thread_id}/runs"))["data"] == []


async def test_steps_of_a_run_that_broke_say_why(gateway: Gateway, worker: ScriptedWorker) -> None:
    run = await start(gateway, await new_thread(gateway, "Hi"), tools=TOOLS, reasoning_effort="low")
    assert run["reasoning_effort"] == "low"
    job = await worker.take()
    await job.begin()
    await job.say("Let me")
    await job.call(0, "weather", "{")
    await job.fail(UnavailableError("The engine crashed.", code="worker_lost"))
    ended = await until_ended(gateway, run)
    assert (ended["status"], ended["last_error"]["code"]) == ("failed", "server_error")
    message, calls = await steps_of(gateway, run)
    assert (message["status"], calls["status"]) == ("failed", "failed")
    assert message["last_error"] == calls["last_error"] == ended["last_error"]


async def test_nothing_but_search_results_can_be_included(gateway: Gateway, worker: ScriptedWorker) -> None:
    run = await waiting_run(gateway, worker)
    [step] = await steps_of(gateway, run)
    for path in (f"{path_of(run)}/steps", f"{path_of(run)}/steps/{step['id']}"):
        known = "include[]=step_details.tool_calls[*].file_search.results[*].content"
        await gateway.json("GET", f"{path}?{known}")
        error = (await gateway.json("GET", f"{path}?include[]=everything", status=400))["error"]
        assert error["param"] == "include"
