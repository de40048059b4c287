"""Streams that are taken up again: from any gateway, without a gap or a repeat, by whoever began them, until 410."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.keys import FOLLOWER, KEEPER, RECORDED
from jan import keys
from jan.queue.jobs import MAX_LOST_WORKERS, JobQueue
from jan.queue.leases import LeaseKind, StalledLease
from jan.queue.scripts import Scripts
from tests.fixtures.gateway import MODEL_ID, Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker, TakenByTest
from tests.gateway.routes.test_runs import new_thread, start, texts, until_ended

CHAT = "/v1/chat/completions"
NUMBERS = {"X-Janroot-Event-Ids": "1"}
WORDS = ["one ", "two ", "three"]


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


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL_ID, "messages": [{"role": "user", "content": "Hi"}], "stream": True, **fields}


def events_of(text: str) -> list[tuple[int, str]]:
    """Number and data of each event, 0 where no number is given."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if fields:
            events.append((int(fields.get("id", 0)), fields["data"]))
    return events


def said(events: list[tuple[int, str]]) -> str:
    """The text in a chat's events."""
    chunks = [json.loads(data) for _, data in events if data != "[DONE]"]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


async def read(
    gateway: Gateway, path: str, after: int | None = None, headers: dict[str, str] | None = None
) -> list[tuple[int, str]]:
    query = {"stream": "true"} | ({} if after is None else {"starting_after": str(after)})
    async with gateway.client.get(path, params=query, headers=headers) as response:
        assert response.status == 200, await response.text()
        return events_of(await response.text())


async def refused(gateway: Gateway, path: str, after: str, **headers: str) -> tuple[int, str | None]:
    query = {"stream": "true", "starting_after": after}
    async with gateway.client.get(path, params=query, headers=headers) as response:
        return response.status, (await response.json())["error"]["code"]


async def leave_after_two_words(
    gateway: Gateway, worker: ScriptedWorker, body: dict[str, Any], **headers: str
) -> tuple[TakenByTest, list[tuple[int, str]]]:
    """Ask, hear the beginning, and go."""
    asking = asyncio.create_task(gateway.client.post(CHAT, json=body, headers=headers))
    job = await worker.take()
    await job.begin()
    await job.say(*WORDS[:2])
    response = await asking
    text = ""
    while WORDS[1] not in text:
        text += (await response.content.readany()).decode()
    response.close()
    return job, events_of(text)


@pytest.mark.parametrize(("fields", "headers"), [({}, NUMBERS), ({"store": True}, {})])
async def test_a_chat_goes_on_and_is_taken_up_on_another_gateway(
    two_gateways: tuple[Gateway, Gateway], worker: ScriptedWorker, fields: dict[str, Any], headers: dict[str, str]
) -> None:
    first, second = two_gateways
    job, heard = await leave_after_two_words(first, worker, chat(**fields), **headers)
    assert [number for number, _ in heard] == ([1, 2, 3] if headers else [0, 0, 0])
    path = f"{CHAT}/{job.job.id}"
    resumed = asyncio.create_task(read(second, path, len(heard)))
    await job.say(WORDS[2])
    await job.finish()
    rest = await resumed
    assert [number for number, _ in rest] == [4, 5, 6]
    assert rest[-1] == (6, "[DONE]")
    assert said(heard + rest) == "".join(WORDS)
    for after in range(7):
        assert [number for number, _ in await read(first, path, after)] == list(range(after + 1, 7))


async def test_a_chat_is_not_gone_on_with_in_another_that_begins_in_this_very_moment(
    gateway: Gateway, worker: ScriptedWorker, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at its log and the first read of it."""
    job, heard = await leave_after_two_words(gateway, worker, chat(), **NUMBERS)

    async def begin_anew(_: object) -> None:
        await redis.delete(keys.job(job.job.id), keys.log(job.job.id), keys.leases(LeaseKind.JOB))
        await JobQueue(redis, worker.scripts).submit(job.job)
        await worker.answer(["Quite", " another", " answer"])

    monkeypatch.setattr(gateway.app[KEEPER], "take_up", begin_anew)
    [(_, told)] = await read(gateway, f"{CHAT}/{job.job.id}", len(heard))
    assert json.loads(told)["error"]["code"] == "job_lost"


async def test_a_browser_takes_up_where_it_stopped(gateway: Gateway, worker: ScriptedWorker) -> None:
    job, heard = await leave_after_two_words(gateway, worker, chat(), **NUMBERS)
    await job.say(WORDS[2])
    await job.finish()
    path = f"{CHAT}/{job.job.id}"
    by_header = await read(gateway, path, headers={"Last-Event-ID": "3"})
    # An EventSource keeps its address and adds the header: the later one counts.
    by_both = await read(gateway, path, 1, headers={"Last-Event-ID": "3"})
    assert by_header == by_both
    assert said(heard + by_header) == "".join(WORDS)


async def test_a_chat_that_nobody_asked_to_keep_ends_with_its_reader(gateway: Gateway, worker: ScriptedWorker) -> None:
    job, heard = await leave_after_two_words(gateway, worker, chat())
    assert [number for number, _ in heard] == [0, 0, 0]
    await job.until_cancelled()
    assert await refused(gateway, f"{CHAT}/{job.job.id}", "0") == (404, None)


async def test_only_whoever_began_a_chat_takes_it_up(gateway: Gateway, worker: ScriptedWorker) -> None:
    ann = {"Authorization": "Bearer ann"}
    job, _ = await leave_after_two_words(gateway, worker, chat(), **NUMBERS, **ann)
    path = f"{CHAT}/{job.job.id}"
    await job.finish()
    assert await refused(gateway, path, "0", Authorization="Bearer bob") == (404, None)
    assert await refused(gateway, path, "0") == (404, None)
    async with gateway.client.delete(path, headers={"Authorization": "Bearer bob"}) as response:
        assert response.status == 404
    assert (await read(gateway, path, 0, ann))[-1][1] == "[DONE]"


async def test_a_deleted_chat_stops_and_is_gone(gateway: Gateway, worker: ScriptedWorker) -> None:
    job, _ = await leave_after_two_words(gateway, worker, chat(), **NUMBERS)
    path = f"{CHAT}/{job.job.id}"
    assert (await gateway.json("DELETE", path))["deleted"] is True
    await job.until_cancelled()
    await gateway.json("DELETE", path, status=404)
    assert await refused(gateway, path, "0") == (404, None)


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "9" * 10, "7", ""])
async def test_a_place_that_cannot_be_is_refused(gateway: Gateway, worker: ScriptedWorker, after: str) -> None:
    job, _ = await leave_after_two_words(gateway, worker, chat(), **NUMBERS)
    await job.finish()
    assert (await refused(gateway, f"{CHAT}/{job.job.id}", after))[0] == 400


async def test_a_place_needs_a_stream(gateway: Gateway, worker: ScriptedWorker) -> None:
    thread_id = await new_thread(gateway, "Hi")
    run = await start(gateway, thread_id)
    await worker.answer()
    path = f"/v1/threads/{thread_id}/runs/{run['id']}"
    await gateway.json("GET", f"{path}?starting_after=1", status=400)
    await gateway.json("GET", f"{CHAT}/chatcmpl-1?starting_after=1", status=400)


async def test_expired_events_are_told_from_unknown_chats(
    gateway: Gateway, worker: ScriptedWorker, redis: Redis
) -> None:
    job, _ = await leave_after_two_words(gateway, worker, chat(), **NUMBERS)
    await job.finish()
    path = f"{CHAT}/{job.job.id}"
    await redis.xtrim(keys.log(job.job.id), maxlen=2, approximate=False)
    assert await refused(gateway, path, "1") == (410, "stream_expired")
    assert len(await read(gateway, path, 4)) == 1
    await redis.delete(keys.log(job.job.id), keys.job(job.job.id))  # as they expire
    assert await refused(gateway, path, "3") == (410, "stream_expired")
    assert await refused(gateway, f"{CHAT}/chatcmpl-nobody", "3") == (404, None)


async def test_a_run_is_taken_up_on_another_gateway(
    two_gateways: tuple[Gateway, Gateway], worker: ScriptedWorker, redis: Redis
) -> None:
    first, second = two_gateways
    thread_id = await new_thread(first, "Hi")
    run = await start(first, thread_id)
    path = f"/v1/threads/{thread_id}/runs/{run['id']}"
    reading = asyncio.create_task(read(second, path, 0))
    job = await worker.take()
    await job.begin()
    await job.say(*WORDS)
    await job.finish()
    whole = await reading
    assert [number for number, _ in whole] == list(range(1, len(whole) + 1))
    assert whole[-1][1] == "[DONE]"
    for after in range(len(whole) + 1):
        assert await read(first, path, after) == whole[after:]
    await until_ended(first, run)
    await redis.delete(keys.log(run["id"]), keys.run(run["id"]))  # as they expire
    assert await refused(second, path, "2") == (410, "stream_expired")
    assert await texts(second, thread_id) == [("user", "Hi"), ("assistant", "".join(WORDS))]


async def test_a_run_that_is_told_anew_is_not_mixed_with_what_was_told(
    gateway: Gateway, worker: ScriptedWorker, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.runs.executor.RECONCILE_SECONDS", 0.05)
    monkeypatch.setattr("gateway.runs.executor.RENEW_SECONDS", 0.02)
    thread_id = await new_thread(gateway, "Hi")
    run = await start(gateway, thread_id)
    job = await worker.take()
    await job.begin()
    await job.say("The capital")
    async with gateway.app[FOLLOWER].follow(run["id"]) as told:
        async for batch in told.batches(5):
            if any(b"thread.message.delta" in entry.payload for entry in batch):
                break
    await redis.flushall()
    await worker.answer(["I", " think", " so"])
    await until_ended(gateway, run)
    path = f"/v1/threads/{thread_id}/runs/{run['id']}"
    assert await refused(gateway, path, "8") == (410, "stream_expired")
    assert (await read(gateway, path, 0))[-1][1] == "[DONE]"


async def test_a_dead_letter_that_is_told_anew_is_not_mixed_with_what_was_told(
    gateway: Gateway, worker: ScriptedWorker, redis: Redis
) -> None:
    job, heard = await leave_after_two_words(gateway, worker, chat(), **NUMBERS)
    queue = JobQueue(redis, Scripts.register(redis))
    id_ = job.job.id
    lease = job.lease
    for _ in range(MAX_LOST_WORKERS):
        await queue.reclaim(StalledLease(id_, f"{lease.token}:0"))
        taken = await queue.take()
        if taken is not None:
            lease = taken.lease
    assert await queue.requeue(id_)
    await worker.answer(["uno ", "dos ", "tres"])
    path = f"{CHAT}/{id_}"
    assert await refused(gateway, path, str(len(heard))) == (410, "stream_expired")
    assert said(await read(gateway, path, 0)) == "uno dos tres"


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
async def test_a_chat_that_its_client_cannot_find_again_ends_when_it_leaves(
    gateway: Gateway, worker: ScriptedWorker, headers: dict[str, str]
) -> None:
    """Nothing was told yet, its id neither: it would be done for nobody, and twice when it is asked for again."""
    asking = asyncio.create_task(gateway.client.post(CHAT, json=chat(store=True), headers=headers))
    job = await worker.take()
    asking.cancel()
    await job.until_cancelled()
    while gateway.app[RECORDED]._tasks:
        await asyncio.wait(set(gateway.app[RECORDED]._tasks))
    again = asyncio.create_task(gateway.client.post(CHAT, json=chat(store=True), headers=headers))
    await worker.answer(WORDS)
    async with await again as response:
        assert said(events_of(await response.text())) == "".join(WORDS)


async def test_a_chat_of_which_redis_forgot_the_last_words_is_lost(
    gateway: Gateway, worker: ScriptedWorker, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came back with less than the client has heard, and the worker is dead: what comes may never be as much."""
    monkeypatch.setattr("gateway.queueing.waiting_room.KEEP_ALIVE_SECONDS", 0.05)
    async with gateway.client.post(CHAT, json=chat()) as response:
        job = await worker.take()
        await job.begin()
        kept = [keys.job(job.job.id), keys.log(job.job.id)]
        saved = {key: await redis.dump(key) or b"" for key in kept}
        await job.say(*WORDS)
        text = ""
        while WORDS[-1] not in text:
            text += (await response.content.readline()).decode()
        for key, value in saved.items():
            await redis.restore(key, keys.IDLE_TTL_SECONDS * 1000, value, replace=True)
        text += (await response.content.read()).decode()
    assert '"code":"job_lost"' in text
