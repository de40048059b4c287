"""Runs that call functions, for tests of them."""

from __future__ import annotations

from typing import Any

from tests.fixtures.gateway import Gateway
from tests.fixtures.worker import ScriptedWorker, TakenByTest
from tests.gateway.routes.test_runs import new_thread, parse_events, start, until_ended

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"The {name} of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    for name in ("weather", "time")
]

TIME = {"type": "function", "function": {"name": "time"}}


def path_of(run: Any) -> str:
    return f"/v1/threads/{run['thread_id']}/runs/{run['id']}"


def outputs(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"tool_outputs": [{"tool_call_id": id_, "output": output} for id_, output in pairs]}


async def call_weather(worker: ScriptedWorker) -> TakenByTest:
    """Answer the next job with a call."""
    job = await worker.take()
    await job.begin()
    await job.call(0, "weather", '{"city":', ' "Rome"}')
    await job.finish("tool_calls")
    return job


async def waiting_run(gateway: Gateway, worker: ScriptedWorker, **fields: Any) -> Any:
    """A run that waits for the output of `call_weather_0`."""
    run = await start(gateway, await new_thread(gateway, "Weather in Rome?"), tools=TOOLS, **fields)
    await call_weather(worker)
    waiting = await until_ended(gateway, run)
    assert waiting["status"] == "requires_action"
    return waiting


async def submitted(gateway: Gateway, run: Any, *pairs: tuple[str, str]) -> Any:
    return await gateway.json("POST", f"{path_of(run)}/submit_tool_outputs", outputs(*pairs))


async def until_over(gateway: Gateway, run: Any) -> Any:
    """Poll a run that had its outputs, whatever it was before."""
    return await until_ended(gateway, run | {"status": "queued"})


async def steps_of(gateway: Gateway, run: Any) -> list[Any]:
    listed: list[Any] = (await gateway.json("GET", f"{path_of(run)}/steps?order=asc"))["data"]
    return listed


async def submit_streamed(gateway: Gateway, run: Any) -> list[tuple[str, Any]]:
    body = outputs(("call_weather_0", "sunny")) | {"stream": True}
    async with gateway.client.post(f"{path_of(run)}/submit_tool_outputs", json=body) as response:
        assert response.status == 200, await response.text()
        return parse_events(await response.text())


async def read_again(gateway: Gateway, run: Any, place: str | None) -> list[str]:
    named = "" if place is None else f"&starting_after={place}"
    headers = {"X-Janroot-Event-Ids": "1"}
    async with gateway.client.get(f"{path_of(run)}?stream=true{named}", headers=headers) as response:
        assert response.status == 200, await response.text()
        return (await response.text()).splitlines()
