"""Runs of several rounds: what each is asked and tells, wherever it is executed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.keys import JOBS, STORAGE
from tests.fixtures.gateway import Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.routes.test_runs import new_thread, read_events, start, texts, until_ended
from tests.gateway.runs.tool_runs import (
    TOOLS,
    call_weather,
    path_of,
    read_again,
    steps_of,
    submit_streamed,
    submitted,
    until_over,
    waiting_run,
)


async def test_the_streams_have_openais_events_in_openais_order(gateway: Gateway, worker: ScriptedWorker) -> None:
    thread_id = await new_thread(gateway, "Weather in Rome?")
    reading = asyncio.create_task(read_events(gateway, f"/v1/threads/{thread_id}/runs", {"tools": TOOLS}))
    await call_weather(worker)
    events = await reading
    assert [name for name, _ in events] == [
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.run.step.delta",
        "thread.run.step.delta",
        "thread.run.step.delta",
        "thread.run.requires_action",
        "done",
    ]
    by_name = dict(events)
    assert by_name["thread.run.step.created"]["step_details"] == {"type": "tool_calls", "tool_calls": []}
    deltas = [data["delta"]["step_details"] for name, data in events if name == "thread.run.step.delta"]
    assert [delta["tool_calls"] for delta in deltas] == [
        [
            {
                "index": 0,
                "type": "function",
                "id": "call_weather_0",
                "function": {"name": "weather", "arguments": "", "output": None},
            }
        ],
        [{"index": 0, "type": "function", "function": {"arguments": '{"city":'}}],
        [{"index": 0, "type": "function", "function": {"arguments": ' "Rome"}'}}],
    ]
    run = by_name["thread.run.requires_action"]
    assert await gateway.json("GET", path_of(run)) == run

    reading = asyncio.create_task(submit_streamed(gateway, run))
    await worker.answer(["It is", " sunny."])
    events = await reading
    assert [name for name, _ in events] == [
        "thread.run.step.completed",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.message.created",
        "thread.message.in_progress",
        "thread.message.delta",
        "thread.message.delta",
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.completed",
        "done",
    ]
    [call] = events[0][1]["step_details"]["tool_calls"]
    assert (events[0][1]["id"], call["function"]["output"]) == (by_name["thread.run.step.created"]["id"], "sunny")
    assert events[1][1]["started_at"] == run["started_at"]


async def test_calls_may_come_in_parallel_behind_a_text_and_in_several_rounds(
    gateway: Gateway, worker: ScriptedWorker
) -> None:
    thread_id = await new_thread(gateway, "Rome?")
    reading = asyncio.create_task(read_events(gateway, f"/v1/threads/{thread_id}/runs", {"tools": TOOLS}))
    job = await worker.take()
    await job.begin()
    await job.say("\n", "Let me look.")
    await job.call(0, "weather", "{}", id_="same")
    await job.call(1, "time", "{}", id_="same")
    await job.finish("tool_calls")
    events = await reading
    assert [name for name, _ in events[-4:]] == [
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.requires_action",
        "done",
    ]
    run = events[-2][1]
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    first, second = (call["id"] for call in calls)
    assert first == "same" != second
    assert [call["function"]["name"] for call in calls] == ["weather", "time"]
    await submitted(gateway, run, (second, "noon"), (first, "sunny"))  # in any order
    job = await call_weather(worker)
    told = job.body["messages"]
    assert (told[1]["content"], [message["content"] for message in told[2:]]) == ("\nLet me look.", ["sunny", "noon"])
    await until_over(gateway, run)
    await submitted(gateway, run, ("call_weather_0", "still sunny"))
    third = await worker.answer(["Fine."])
    assert third.job.id == f"{run['id']}.3"
    assert [message["role"] for message in third.body["messages"]] == [
        "user", "assistant", "tool", "tool", "assistant", "tool",
    ]  # fmt: skip
    assert (await until_over(gateway, run))["status"] == "completed"
    kinds = [(step["type"], step["status"]) for step in await steps_of(gateway, run)]
    assert kinds == [
        ("message_creation", "completed"),
        ("tool_calls", "completed"),
        ("tool_calls", "completed"),
        ("message_creation", "completed"),
    ]
    assert [text for _, text in await texts(gateway, thread_id)] == ["Rome?", "\nLet me look.", "Fine."]


@pytest.mark.parametrize(
    ("choice", "rounds"),
    [
        ("required", ["required", "auto"]),
        (
            {"type": "function", "function": {"name": "time"}},
            [{"type": "function", "function": {"name": "time"}}, "auto"],
        ),
        ("none", ["none", "none"]),
        (None, ["auto", "auto"]),
    ],
)
async def test_a_choice_that_forces_a_call_binds_the_first_round_only(
    gateway: Gateway, worker: ScriptedWorker, choice: Any, rounds: list[Any]
) -> None:
    run = await start(
        gateway, await new_thread(gateway, "Hi"), tools=TOOLS, tool_choice=choice, parallel_tool_calls=False
    )
    assert (run["tool_choice"], run["parallel_tool_calls"]) == (choice or "auto", False)
    first = await call_weather(worker)
    await submitted(gateway, await until_ended(gateway, run), ("call_weather_0", "x"))
    second = await worker.answer()
    assert [job.body["tool_choice"] for job in (first, second)] == rounds
    assert [job.body["tools"] for job in (first, second)] == [TOOLS, TOOLS]
    assert first.body["parallel_tool_calls"] is False
    assert (await until_over(gateway, run))["status"] == "completed"


async def test_a_waiting_run_survives_its_gateway_and_a_redis_that_forgot(
    storage_server: StorageServer, redis_server: RedisServer, redis: Any, worker: ScriptedWorker
) -> None:
    write_model(storage_server.janroot)
    async with running_gateway(storage_server, redis_server) as first:
        run = await waiting_run(first, worker)
    await redis.flushall()
    async with running_gateway(storage_server, redis_server) as second:
        assert await second.json("GET", path_of(run)) == run
        reading = asyncio.create_task(submit_streamed(second, run))
        await worker.answer(["Sunny."])
        assert [name for name, _ in await reading][-2:] == ["thread.run.completed", "done"]
        assert (await second.json("GET", path_of(run)))["usage"]["total_tokens"] == 20


async def test_a_round_is_taken_over_when_its_gateway_stops(
    storage_server: StorageServer, redis_server: RedisServer, redis: Any, worker: ScriptedWorker
) -> None:
    write_model(storage_server.janroot)
    async with running_gateway(storage_server, redis_server) as first:
        run = await submitted(first, await waiting_run(first, worker), ("call_weather_0", "sunny"))
        job = await worker.take()
        await job.begin()
        await job.say("It is ")
    async with running_gateway(storage_server, redis_server) as second:
        await job.say("sunny.")
        await job.finish()
        assert (await until_ended(second, run))["status"] == "completed"
        assert (await texts(second, run["thread_id"]))[-1] == ("assistant", "It is sunny.")
        assert len(await steps_of(second, run)) == 2


async def test_each_round_has_what_the_rounds_before_left_of_its_tokens(
    gateway: Gateway, worker: ScriptedWorker
) -> None:
    run = await waiting_run(gateway, worker, max_completion_tokens=256)
    await submitted(gateway, run, ("call_weather_0", "x"))
    job = await call_weather(worker)
    assert job.body["max_tokens"] == 253
    storage = gateway.app[STORAGE]
    record = await storage.get_run(run["thread_id"], (await until_over(gateway, run))["id"])
    record.usage.completion_tokens = 256
    await storage.update_run(record)
    await submitted(gateway, run, ("call_weather_0", "x"))
    ended = await until_over(gateway, run)
    assert (ended["status"], ended["incomplete_details"]) == ("incomplete", {"reason": "max_completion_tokens"})
    assert ended["usage"]["completion_tokens"] == 256


async def test_a_stream_is_taken_up_again_in_the_round_it_names(gateway: Gateway, worker: ScriptedWorker) -> None:
    run = await waiting_run(gateway, worker)
    first = await read_again(gateway, run, "5")
    assert [line for line in first if line.startswith(("id", "event"))][:2] == ["id: 6", "event: thread.run.step.delta"]
    await submitted(gateway, run, ("call_weather_0", "sunny"))
    await worker.answer(["Sunny."])
    await until_over(gateway, run)
    assert await read_again(gateway, run, "5") == first
    second = await read_again(gateway, run, "2.6")
    assert [line for line in second if line.startswith(("id", "event"))][:2] == [
        "id: 2.7",
        "event: thread.message.in_progress",
    ]
    assert await read_again(gateway, run, None) == await read_again(gateway, run, "2.0")
    for place in ("3.0", "2.999", "0.1", "2.", "x"):
        await gateway.json("GET", f"{path_of(run)}?stream=true&starting_after={place}", status=400)


@pytest.mark.parametrize("which", ["/{}", "?confirm=true"])
async def test_a_deleted_thread_frees_the_engine_of_a_later_round(
    gateway: Gateway, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    run = await waiting_run(gateway, worker)
    await submitted(gateway, run, ("call_weather_0", "sunny"))
    job = await worker.take()
    await job.begin()
    cancelled: list[str] = []
    cancel = gateway.app[JOBS].cancel

    async def noted(job_id: str) -> None:
        cancelled.append(job_id)
        await cancel(job_id)

    monkeypatch.setattr(gateway.app[JOBS], "cancel", noted)
    await gateway.json("DELETE", "/v1/threads" + which.format(run["thread_id"]))
    assert set(cancelled) == {job.job.id} == {f"{run['id']}.2"}
    await job.until_cancelled()
