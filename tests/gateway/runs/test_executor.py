"""Runs survive their gateway: taken over by another, without an answer or an event twice."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.keys import FOLLOWER, RUNS, STORAGE
from gateway.runs import execution, states
from gateway.runs import executor as executor_module
from gateway.runs.turn import Turn
from jan import keys
from jan.errors import InvalidArgumentError, StorageFullError, UnavailableError
from jan.queue.leases import LeaseKind
from jan.type.v1.usage_pb2 import Usage
from tests.fixtures.gateway import MODEL_ID, Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker, TakenByTest
from tests.gateway.routes.test_runs import NO_USAGE, new_thread, parse_events, start, texts, until_ended


@pytest.fixture(autouse=True)
def quick_reconciler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_module, "RECONCILE_SECONDS", 0.05)
    monkeypatch.setattr(executor_module, "RENEW_SECONDS", 0.02)


@pytest.fixture
async def two_gateways(
    storage_server: StorageServer, redis_server: RedisServer, redis: Redis
) -> AsyncIterator[tuple[Gateway, Gateway]]:
    write_model(storage_server.janroot)
    async with (
        running_gateway(storage_server, redis_server) as first,
        running_gateway(storage_server, redis_server) as second,
    ):
        yield first, second


async def nothing_held(gateway: Gateway) -> None:
    """Wait until the gateway executes no run; its stream's end can be read a moment before that."""
    await asyncio.gather(*(held.task for held in gateway.app[RUNS]._holdings._held.values()))
    assert gateway.app[RUNS]._holdings._held == {}


async def begun_by_another(
    storage_server: StorageServer, redis_server: RedisServer, worker: ScriptedWorker
) -> tuple[dict[str, Any], TakenByTest]:
    """A run whose gateway stopped when "first " of its answer was said, and its job."""
    write_model(storage_server.janroot)
    async with running_gateway(storage_server, redis_server) as first:
        thread_id = await new_thread(first, "Hi")
        run = await start(first, thread_id)
        job = await worker.take()
        await job.begin()
        await job.say("first ")
    return run, job


async def test_a_gateway_that_stops_hands_its_runs_over(
    storage_server: StorageServer, redis_server: RedisServer, redis: Redis, worker: ScriptedWorker
) -> None:
    run, job = await begun_by_another(storage_server, redis_server, worker)
    assert not await redis.exists(keys.leases(LeaseKind.RUN))  # it need not be missed first
    thread_id = run["thread_id"]
    async with running_gateway(storage_server, redis_server) as second:
        await job.say("second")
        await job.finish()
        assert (await until_ended(second, run))["status"] == "completed"
        assert await texts(second, thread_id) == [("user", "Hi"), ("assistant", "first second")]
        steps = await second.json("GET", f"/v1/threads/{thread_id}/runs/{run['id']}/steps")
        assert len(steps["data"]) == 1


@pytest.mark.parametrize("lost", [["2-0"], ["1-0", "2-0", "3-0", "4-0"]])
async def test_a_run_whose_answer_lost_a_part_is_asked_anew(
    storage_server: StorageServer, redis_server: RedisServer, redis: Redis, worker: ScriptedWorker, lost: list[str]
) -> None:
    """Its job is known still, so nobody else would ask it again."""
    run, job = await begun_by_another(storage_server, redis_server, worker)
    thread_id = run["thread_id"]
    await job.finish()
    await redis.xdel(keys.log(job.job.id), *lost)
    async with running_gateway(storage_server, redis_server) as second:
        await worker.answer(["second"])
        assert (await until_ended(second, run))["status"] == "completed"
        assert await texts(second, thread_id) == [("user", "Hi"), ("assistant", "second")]


async def test_a_frozen_gateways_run_is_taken_over_and_its_events_stay_in_order(
    two_gateways: tuple[Gateway, Gateway], worker: ScriptedWorker
) -> None:
    first, second = two_gateways
    thread_id = await new_thread(first, "Hi")
    stream = asyncio.create_task(read_stream(first, thread_id))
    job = await worker.take()
    await job.begin()
    await job.say("a", "b")
    freeze(first)
    for each in two_gateways:
        each.app[RUNS]._watch._lease_seconds = 1.0
    await job.say("c")
    await job.finish()
    events = await stream
    deltas = [data["delta"]["content"][0]["text"]["value"] for name, data in events if name == "thread.message.delta"]
    assert deltas == ["a", "b", "c"]
    names = [name for name, _ in events]
    assert len(names) == len(set(names)) + len(deltas) - 1
    assert names[-2:] == ["thread.run.completed", "done"]
    assert await texts(second, thread_id) == [("user", "Hi"), ("assistant", "abc")]


async def test_a_redis_that_forgot_everything_loses_no_run(
    gateway: Gateway, worker: ScriptedWorker, redis: Redis
) -> None:
    thread_id = await new_thread(gateway, "Hi")
    run = await start(gateway, thread_id)
    await worker.take()
    await redis.flushall()
    again = await worker.answer(["anew"])
    assert again.job.id == f"{run['id']}.1"
    assert (await until_ended(gateway, run))["status"] == "completed"
    assert await texts(gateway, thread_id) == [("user", "Hi"), ("assistant", "anew")]


async def test_a_run_that_nobody_answers_expires(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.runs.creation.RUN_LIFETIME", timedelta(seconds=-1))
    thread_id = await new_thread(gateway, "Hi")
    run = await start(gateway, thread_id)
    ended = await until_ended(gateway, run)
    assert ended["status"] == "expired"
    assert await texts(gateway, thread_id) == [("user", "Hi")]


async def test_a_clock_that_jumps_expires_no_run_that_was_accepted_just_now(
    gateway: Gateway, redis: Redis, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise P12. The clock of the executor alone: gRPC reckons with two, and in a process both jump together."""
    jumped = SimpleNamespace(monotonic=time.monotonic, time=lambda: time.time() + 3600)
    monkeypatch.setattr(executor_module, "time", jumped)
    thread_id = await new_thread(gateway, "Hi")
    run = await start(gateway, thread_id)
    job = await worker.take()
    await job.begin()
    await job.say("in time")
    while (await gateway.json("GET", f"/v1/threads/{thread_id}/runs/{run['id']}"))["status"] == "queued":
        pass
    # By now the gateway has looked whether the run is over, and would have asked the worker to stop.
    assert not await redis.hget(keys.job(job.job.id), "cancelled")
    await job.finish()
    assert (await until_ended(gateway, run))["status"] == "completed"


async def test_a_deleted_thread_ends_its_run_and_its_stream(gateway: Gateway, worker: ScriptedWorker) -> None:
    thread_id = await new_thread(gateway, "Hi")
    stream = asyncio.create_task(read_stream(gateway, thread_id))
    job = await worker.take()
    await gateway.json("DELETE", f"/v1/threads/{thread_id}")
    await job.begin()
    events = await stream
    assert [name for name, _ in events[-2:]] == ["error", "done"]
    assert (
        events[-2][1]["message"]
        == f"The thread {thread_id} is not here any more: it was deleted, or a backup was restored."
    )
    await job.until_cancelled()
    await nothing_held(gateway)


async def test_an_answer_for_a_thread_that_a_restore_replaced_ends_the_work_on_it(
    gateway: Gateway, worker: ScriptedWorker, storage_server: StorageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread_id = await new_thread(gateway, "Hi")
    storage = gateway.app[STORAGE]
    create_message = storage.create_message
    asked: list[str] = []

    async def counted(message: Any) -> Any:
        asked.append(message.run_id)
        return await create_message(message)

    monkeypatch.setattr(storage, "create_message", counted)
    stream = asyncio.create_task(read_stream(gateway, thread_id))
    job = await worker.take()
    await job.begin()
    await job.say("to another question")
    [run] = (await gateway.json("GET", f"/v1/threads/{thread_id}/runs"))["data"]
    await seen_by_executor(gateway, run["id"], status="step.in_progress")
    await asyncio.to_thread((storage_server.janroot / "threads" / thread_id / "runs.jsonl").unlink)
    await job.finish()
    events = await stream
    assert [name for name, _ in events[-2:]] == ["error", "done"]
    assert (
        events[-2][1]["message"]
        == f"The thread {thread_id} is not here any more: it was deleted, or a backup was restored."
    )
    assert asked == [run["id"]]
    await nothing_held(gateway)
    assert await texts(gateway, thread_id) == [("user", "Hi")]


async def test_a_cancel_between_acceptance_and_the_first_word_ends_the_run(
    gateway: Gateway, worker: ScriptedWorker
) -> None:
    thread_id = await new_thread(gateway, "Hi")
    run = await start(gateway, thread_id)
    job = await worker.take()
    storage = gateway.app[STORAGE]
    await seen_by_executor(gateway, run["id"])
    record = await storage.get_run(thread_id, run["id"])
    record.status = states.CANCELLING
    await storage.update_run(record)
    await job.begin()
    await job.say("x")
    await gateway.json("POST", f"/v1/threads/{thread_id}/runs/{run['id']}/cancel")
    await job.until_cancelled()
    ended = await until_ended(gateway, run)
    assert (ended["status"], ended["usage"]) == ("cancelled", NO_USAGE)
    [step] = (await gateway.json("GET", f"/v1/threads/{thread_id}/runs/{run['id']}/steps"))["data"]
    assert (step["status"], step["usage"]) == ("cancelled", NO_USAGE)
    assert step["created_at"] >= run["created_at"]
    await gateway.json("POST", f"/v1/threads/{thread_id}/messages", {"role": "user", "content": "again"})


@pytest.mark.parametrize("end", ["cancelled", "failed"])
@pytest.mark.parametrize("calls", [True, False])
async def test_a_run_that_is_broken_off_tells_what_was_used(
    gateway: Gateway, worker: ScriptedWorker, end: str, *, calls: bool
) -> None:
    thread_id = await new_thread(gateway, "Hi")
    tools = [{"type": "function", "function": {"name": "weather"}}] if calls else []
    run = await start(gateway, thread_id, tools=tools)
    job = await worker.take()
    await job.begin()
    await (job.call(0, "weather", "{") if calls else job.say("One", " two"))
    used = Usage(prompt_tokens=40, completion_tokens=2)
    if end == "failed":
        await job.fail(UnavailableError("The engine broke."), used)
    else:
        await gateway.json("POST", f"/v1/threads/{thread_id}/runs/{run['id']}/cancel")
        await job.until_cancelled(used)
    ended = await until_ended(gateway, run)
    told = {"prompt_tokens": 40, "completion_tokens": 2, "total_tokens": 42}
    assert (ended["status"], ended["usage"]) == (end, told)
    [step] = (await gateway.json("GET", f"/v1/threads/{thread_id}/runs/{run['id']}/steps"))["data"]
    assert (step["status"], step["usage"]) == (end, told)


@pytest.mark.parametrize("cause", ["cancel", "expiry"])
async def test_a_run_ends_although_no_worker_lives_to_stop_its_job(
    gateway: Gateway, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    monkeypatch.setattr("gateway.queueing.jobs.IDLE_SECONDS", 0.05)
    monkeypatch.setattr("gateway.runs.execution.STOP_PATIENCE_SECONDS", 0.2)
    if cause == "expiry":
        monkeypatch.setattr("gateway.runs.creation.RUN_LIFETIME", timedelta(seconds=1))
    thread_id = await new_thread(gateway, "Hi")
    run = await start(gateway, thread_id)
    await worker.take()  # and never a word again
    if cause == "cancel":
        await gateway.json("POST", f"/v1/threads/{thread_id}/runs/{run['id']}/cancel")
    ended = await until_ended(gateway, run)
    assert ended["status"] == {"cancel": "cancelled", "expiry": "expired"}[cause]


async def test_a_take_over_that_finds_no_model_ends_the_stream_as_failed(
    storage_server: StorageServer, redis_server: RedisServer, redis: Redis, worker: ScriptedWorker
) -> None:
    write_model(storage_server.janroot)
    async with running_gateway(storage_server, redis_server) as first:
        thread_id = await new_thread(first, "Hi")
        run = await start(first, thread_id)
        job = await worker.take()
        await job.begin()
        await job.say("half")
        await seen_by_executor(first, run["id"], status="in_progress")
    await redis.delete(keys.job(f"{run['id']}.1"), keys.log(f"{run['id']}.1"))
    await asyncio.to_thread(shutil.rmtree, storage_server.janroot / "models" / MODEL_ID)
    async with running_gateway(storage_server, redis_server) as second:
        ended = await until_ended(second, run)
        assert (ended["status"], ended["last_error"]["code"]) == ("failed", "server_error")
        async with second.app[FOLLOWER].follow(run["id"]) as subscription:
            told = b"".join([e.payload async for batch in subscription.batches(5) for e in batch])
    names = [name for name, _ in parse_events(told.decode())]
    assert names[-2:] == ["thread.run.failed", "done"]


async def test_a_full_disk_delays_an_end_and_loses_nothing(
    gateway: Gateway, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread_id = await new_thread(gateway, "Hi")
    storage = gateway.app[STORAGE]
    create_message = storage.create_message
    refused: list[Any] = []

    async def full_once(message: Any) -> Any:
        if not refused:
            refused.append(message)
            raise StorageFullError("No space is left.")
        return await create_message(message)

    monkeypatch.setattr(storage, "create_message", full_once)
    run = await start(gateway, thread_id)
    await worker.answer(["kept"])
    assert (await until_ended(gateway, run))["status"] == "completed"
    assert (len(refused), await texts(gateway, thread_id)) == (1, [("user", "Hi"), ("assistant", "kept")])


async def seen_by_executor(gateway: Gateway, run_id: str, status: str = "queued") -> None:
    """Wait until the run's log tells that the executor came so far."""
    async with gateway.app[FOLLOWER].follow(run_id) as subscription:
        async for batch in subscription.batches(5):
            if any(f"event: thread.run.{status}\n".encode() in entry.payload for entry in batch):
                return


def freeze(gateway: Gateway) -> None:
    """Stop a gateway's executor as a SIGSTOP would: its tasks neither work nor renew nor let go."""
    for held in gateway.app[RUNS]._holdings._held.values():
        held.task.cancel()
    gateway.app[RUNS]._holdings._held.clear()


async def read_stream(gateway: Gateway, thread_id: str) -> list[tuple[str, Any]]:
    body = {"assistant_id": "jan", "stream": True}
    async with gateway.client.post(f"/v1/threads/{thread_id}/runs", json=body) as response:
        return parse_events(await response.text())


async def test_the_stream_of_a_run_that_was_stored_waits_for_redis(
    gateway: Gateway, redis: Redis, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error would be taken for a refusal, and the next try be refused in truth: the run is active."""
    thread_id = await new_thread(gateway, "Hi")
    create_run = gateway.app[STORAGE].create_run

    async def and_then_redis_is_full(draft: Any) -> Any:
        run = await create_run(draft)
        await redis.config_set("maxmemory", "1")
        return run

    monkeypatch.setattr(gateway.app[STORAGE], "create_run", and_then_redis_is_full)
    body = {"assistant_id": "jan", "model": MODEL_ID, "stream": True}
    try:
        async with gateway.client.post(f"/v1/threads/{thread_id}/runs", json=body) as answer:
            assert answer.status == 200, await answer.text()
            await redis.config_set("maxmemory", "0")
            await worker.answer(["late"])
            events = parse_events(await answer.text())
    finally:
        await redis.config_set("maxmemory", "0")
    assert [event for event, _ in events][-2:] == ["thread.run.completed", "done"]
    assert await texts(gateway, thread_id) == [("user", "Hi"), ("assistant", "late")]


@pytest.mark.parametrize("is_asked", [False, True])
async def test_a_run_that_fails_while_storage_is_away_has_failed_and_says_why(
    gateway: Gateway, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch, is_asked: bool
) -> None:
    storage = gateway.app[STORAGE]
    update_run = storage.update_run
    away: list[Any] = []

    async def refuse(*_: Any) -> Any:
        raise InvalidArgumentError("The prompt is too long for the model.")

    async def away_once(run: Any, *more: Any) -> Any:
        if run.status == states.FAILED and not away:
            away.append(run)
            raise UnavailableError("Storage is being started again.")
        return await update_run(run, *more)

    if is_asked:
        monkeypatch.setattr(Turn, "take_in", refuse)
    else:
        monkeypatch.setattr(execution, "job_for", refuse)
    monkeypatch.setattr(storage, "update_run", away_once)
    run = await start(gateway, await new_thread(gateway, "Hi"))
    if is_asked:
        job = await worker.take()
        await job.begin()
        await job.until_cancelled()
    ended = await until_ended(gateway, run)
    assert (len(away), ended["status"]) == (1, "failed")
    assert ended["last_error"] == {"code": "invalid_prompt", "message": "The prompt is too long for the model."}
