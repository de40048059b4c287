"""/v1/queue and its traces in answers, over the real queue; the jobs' fate is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from openai import AsyncOpenAI
from redis.asyncio import Redis

from gateway.keys import KEEPER
from jan import keys
from jan.inference.v1 import jobs_pb2
from jan.queue.jobs import JobQueue
from jan.queue.leases import StalledLease
from jan.queue.scripts import Scripts
from tests.fixtures.gateway import MODEL_ID, Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.client import ask, refusal
from tests.gateway.routes.test_runs import new_thread, start, texts, until_ended


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL_ID, "messages": [{"role": "user", "content": "Hi"}], **fields}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@asynccontextmanager
async def asked(gateway: Gateway, redis: Redis, *requests: tuple[str, dict[str, Any]]) -> AsyncIterator[list[str]]:
    """Chats of several people that wait for their answers; yields their jobs' ids in order of arrival."""
    async with AsyncExitStack() as stack:
        ids: list[str] = []
        for key, body in requests:
            headers = bearer(key) if key else {}
            task = asyncio.create_task(_post(gateway, headers, body))
            stack.push_async_callback(_end, task)
            while len(known := [key async for key in redis.scan_iter(keys.job("*"))]) == len(ids):
                assert not task.done()
            ids += [name for key in known if (name := key.decode().removeprefix(keys.job(""))) not in ids]
        yield ids


async def _post(gateway: Gateway, headers: dict[str, str], body: dict[str, Any]) -> None:
    async with gateway.client.post("/v1/chat/completions", json=body, headers=headers) as answer:
        await answer.read()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def listed(gateway: Gateway, path: str = "/v1/queue", key: str = "") -> list[dict[str, Any]]:
    async with gateway.client.get(path, headers=bearer(key) if key else {}) as answer:
        value = await answer.json()
        assert answer.status == 200, value
        assert value["object"] == "list"
        data: list[dict[str, Any]] = value["data"]
        return data


async def test_everybody_sees_his_own_jobs_and_whoever_is_at_the_machine_sees_all(
    gateway: Gateway, redis: Redis, worker: ScriptedWorker
) -> None:
    requests = [("ann", chat(stream=True)), ("bob", chat()), ("ann", chat(service_tier="flex"))]
    async with asked(gateway, redis, *requests) as [first, second, third]:
        taken = await worker.take()
        assert taken.job.id == first
        anns = await listed(gateway, key="ann")
        assert [(job["id"], job["state"], job["class"], job["position"]) for job in anns] == [
            (first, "running", "interactive", None),
            (third, "queued", "batch", 2),
        ]
        [bobs] = await listed(gateway, key="bob")
        assert bobs == {
            "id": second,
            "object": "queue.job",
            "kind": "chat.completion",
            "model": MODEL_ID,
            "class": "normal",
            "state": "queued",
            "enqueued_at": bobs["enqueued_at"],
            "started_at": None,
            "position": 1,
            "eta_seconds": None,
            "progress": None,
            "activity": None,
        }
        everybody = await listed(gateway)
        assert [job["id"] for job in everybody] == [first, second, third]
        assert everybody[0]["tenant"] == everybody[2]["tenant"] != everybody[1]["tenant"]
        assert everybody[0]["started_at"] >= everybody[0]["enqueued_at"]


async def test_the_list_pages(gateway: Gateway, redis: Redis) -> None:
    async with asked(gateway, redis, *[("ann", chat())] * 3) as ids:
        page = await ask(gateway.client, "GET", "/v1/queue", limit="2")
        assert ([job["id"] for job in page["data"]], page["has_more"]) == (ids[:2], True)
        page = await ask(gateway.client, "GET", "/v1/queue", limit="2", after=page["last_id"])
        assert ([job["id"] for job in page["data"]], page["has_more"]) == (ids[2:], False)
        for params in ({"limit": "0"}, {"limit": "1001"}, {"after": "nobody"}):
            status, _ = await refusal(gateway.client, "GET", "/v1/queue", params=params)
            assert status == 400


async def test_one_cancels_what_is_ones_own(gateway: Gateway, redis: Redis) -> None:
    async with asked(gateway, redis, ("ann", chat()), ("bob", chat())) as [anns, bobs]:
        for id_ in (anns, "nobody"):
            status, error = await refusal(gateway.client, "DELETE", f"/v1/queue/{id_}", headers=bearer("bob"))
            assert (status, error["message"]) == (404, f"No job found with id {id_!r}.")
        async with gateway.client.delete(f"/v1/queue/{bobs}", headers=bearer("bob")) as answer:
            assert await answer.json() == {
                "id": bobs,
                "object": "queue.job.deleted",
                "deleted": True,
                "state": "cancelled",
            }
        status, error = await refusal(gateway.client, "DELETE", f"/v1/queue/{bobs}", headers=bearer("bob"))
        assert (status, error["code"]) == (400, "job_ended")
        assert [job["id"] for job in await listed(gateway)] == [anns]
        await ask(gateway.client, "DELETE", f"/v1/queue/{anns}")
        assert await listed(gateway) == []


async def test_a_cancelled_job_is_not_asked_again_by_its_client(gateway: Gateway, redis: Redis) -> None:
    asking = asyncio.create_task(_answer(gateway, chat()))
    while not (jobs := await listed(gateway)):
        pass
    await ask(gateway.client, "DELETE", f"/v1/queue/{jobs[0]['id']}")
    status, headers, _ = await asking
    assert (status, headers["x-should-retry"]) == (503, "false")


async def _answer(gateway: Gateway, body: dict[str, Any]) -> tuple[int, Any, bytes]:
    async with gateway.client.post("/v1/chat/completions", json=body) as answer:
        return answer.status, answer.headers, await answer.read()


async def test_a_waiting_stream_tells_its_place_before_it_begins(
    gateway: Gateway, redis: Redis, worker: ScriptedWorker
) -> None:
    async with asked(gateway, redis, ("ann", chat(stream=True)), ("ann", chat(stream=True))):
        async with gateway.client.post("/v1/chat/completions", json=chat(stream=True), headers=bearer("ann")) as answer:
            assert answer.headers["X-Janroot-Queue-Position"] == "3"
            assert await answer.content.readline() == b": queued position=3\n"
            await worker.answer()
            await worker.answer()
            await worker.answer()
            text = (await answer.content.read()).decode()
        comments = [line for line in text.splitlines() if line.startswith(":")]
        assert set(comments) <= {f": queued position={place}{eta}" for place in (1, 2) for eta in ("", " eta=1")}
        assert text.endswith("data: [DONE]\n\n")


async def test_the_stock_client_passes_over_what_a_waiting_stream_tells(
    gateway: Gateway, redis: Redis, worker: ScriptedWorker
) -> None:
    client = AsyncOpenAI(base_url=f"{gateway.url}v1", api_key="ann", max_retries=0)
    async with asked(gateway, redis, ("ann", chat(stream=True))):
        stream = await client.chat.completions.create(
            model=MODEL_ID, messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        assert stream.response.headers["X-Janroot-Queue-Position"] == "2"
        await worker.answer()
        await worker.answer()
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "Hello there"
    await client.close()


async def test_a_whole_answer_tells_where_it_stood(gateway: Gateway, redis: Redis, worker: ScriptedWorker) -> None:
    asking = asyncio.create_task(_answer(gateway, chat()))
    while not await listed(gateway):
        pass
    async with gateway.client.post("/v1/chat/completions", json=chat(stream=True)) as other:
        assert other.headers["X-Janroot-Queue-Position"] == "1"  # a stream is more urgent
        await worker.answer()
        await worker.answer()
        status, headers, _ = await asking
        assert status == 200
        assert headers["X-Janroot-Queue-Position"] in {"1", "2"}
        await other.read()


@pytest.mark.parametrize(
    ("headers", "body", "priority"),
    [
        ({}, chat(stream=True), jobs_pb2.PRIORITY_INTERACTIVE),
        ({}, chat(), jobs_pb2.PRIORITY_NORMAL),
        ({}, chat(stream=True, service_tier="flex"), jobs_pb2.PRIORITY_BATCH),
        ({}, chat(service_tier="priority"), jobs_pb2.PRIORITY_INTERACTIVE),
        ({}, chat(service_tier="auto"), jobs_pb2.PRIORITY_NORMAL),
        ({"X-Janroot-Priority": "Batch"}, chat(service_tier="priority"), jobs_pb2.PRIORITY_BATCH),
    ],
)
async def test_the_class_is_the_headers_or_the_tiers_or_the_streams(
    gateway: Gateway, worker: ScriptedWorker, headers: dict[str, str], body: dict[str, Any], priority: int
) -> None:
    async def post() -> None:
        async with gateway.client.post("/v1/chat/completions", json=body, headers=headers) as answer:
            assert answer.status == 200
            await answer.read()

    asking = asyncio.create_task(post())
    taken = await worker.answer()
    assert taken.job.priority == priority
    await asking


async def test_an_unknown_class_is_refused(gateway: Gateway) -> None:
    for headers, body, param in (
        ({"X-Janroot-Priority": "now!"}, chat(), "X-Janroot-Priority"),
        ({}, chat(service_tier="gold"), "service_tier"),
    ):
        status, error = await _refused_with(gateway, headers, body)
        assert (status, error["param"]) == (400, param)


async def _refused_with(gateway: Gateway, headers: dict[str, str], body: Any) -> tuple[int, dict[str, Any]]:
    async with gateway.client.post("/v1/chat/completions", json=body, headers=headers) as answer:
        return answer.status, (await answer.json())["error"]


async def kill_three_workers(redis: Redis, job: jobs_pb2.Job) -> None:
    queue = JobQueue(redis, Scripts.register(redis))
    await queue.submit(job)
    for _ in range(3):
        taken = await queue.take()
        assert taken is not None
        await queue.reclaim(StalledLease(job.id, f"{taken.lease.token}:0"))


async def test_a_dead_letter_that_nobody_waits_for_is_not_requeued(gateway: Gateway, redis: Redis) -> None:
    job = jobs_pb2.Job(
        id="chatcmpl-1", tenant="user:ann", model=jobs_pb2.ModelSpec(id=MODEL_ID), body=b"{}", cost_tokens=5
    )
    await kill_three_workers(redis, job)
    [dead] = await listed(gateway, "/v1/queue/dead")
    assert (dead["id"], dead["state"], dead["failures"], dead["tenant"]) == ("chatcmpl-1", "dead", 3, "user:ann")
    assert await listed(gateway) == []
    status, error = await refusal(gateway.client, "POST", "/v1/queue/dead/chatcmpl-1/requeue")
    assert (status, error["code"]) == (400, "no_reader")
    assert await listed(gateway, "/v1/queue/dead") == [dead]
    status, _ = await refusal(gateway.client, "POST", "/v1/queue/dead/nobody/requeue")
    assert status == 404


async def test_a_requeued_chat_that_is_to_be_stored_is_answered_and_stored(
    gateway: Gateway, redis: Redis, worker: ScriptedWorker
) -> None:
    asking = asyncio.create_task(_answer(gateway, chat(stream=True, store=True)))
    queue = JobQueue(redis, Scripts.register(redis))
    for _ in range(3):
        job = await worker.take()
        await queue.reclaim(StalledLease(job.job.id, f"{job.lease.token}:0"))
    assert (await asking)[0] == 503
    again = await ask(gateway.client, "POST", f"/v1/queue/dead/{job.job.id}/requeue")
    assert (again["id"], again["state"]) == (job.job.id, "queued")
    assert await listed(gateway, "/v1/queue/dead") == []
    assert (await worker.answer()).job == job.job
    settled = await gateway.app[KEEPER].take_up(job.job.id)
    if settled is not None:  # else it is stored already
        await settled()
    stored = await gateway.json("GET", f"/v1/chat/completions/{job.job.id}")
    assert stored["choices"][0]["message"]["content"] == "Hello there"
    assert (await refusal(gateway.client, "POST", f"/v1/queue/dead/{job.job.id}/requeue"))[0] == 404


async def test_a_runs_dead_letter_begins_another_run_in_its_place(
    gateway: Gateway, redis: Redis, worker: ScriptedWorker
) -> None:
    thread_id = await new_thread(gateway, "Hi")
    run = await start(gateway, thread_id, instructions="Be brief.", metadata={"a": "b"}, temperature=0.7)
    queue = JobQueue(redis, Scripts.register(redis))
    for _ in range(3):
        job = await worker.take()
        await queue.reclaim(StalledLease(job.job.id, f"{job.lease.token}:0"))
    failed = await until_ended(gateway, run)
    assert (failed["status"], failed["last_error"]["code"]) == ("failed", "server_error")
    [dead] = await listed(gateway, "/v1/queue/dead")
    answer = await ask(gateway.client, "POST", f"/v1/queue/dead/{dead['id']}/requeue")
    assert (answer["state"], answer["thread_id"]) == ("queued", thread_id)
    assert await listed(gateway, "/v1/queue/dead") == []
    again = await worker.answer()
    assert (again.job.id, again.job.tenant) == (answer["id"], job.job.tenant)
    assert again.body["messages"] == job.body["messages"]
    ended = await until_ended(gateway, run | {"id": answer["run_id"]})
    assert ended["status"] == "completed"
    kept = ("assistant_id", "instructions", "metadata", "model", "temperature")
    assert [ended[key] for key in kept] == [failed[key] for key in kept]
    assert await texts(gateway, thread_id) == [("user", "Hi"), ("assistant", "Hello there")]
    path = f"/v1/threads/{thread_id}/runs"
    assert [each["status"] for each in (await gateway.json("GET", path))["data"]] == ["completed", "failed"]
    assert await gateway.json("GET", f"{path}/{run['id']}") == failed


async def test_a_dead_letter_whose_thread_has_another_run_stays(
    gateway: Gateway, redis: Redis, worker: ScriptedWorker
) -> None:
    thread_id = await new_thread(gateway, "Hi")
    run = await start(gateway, thread_id)
    queue = JobQueue(redis, Scripts.register(redis))
    for _ in range(3):
        job = await worker.take()
        await queue.reclaim(StalledLease(job.job.id, f"{job.lease.token}:0"))
    await until_ended(gateway, run)
    other = await start(gateway, thread_id)
    path = f"/v1/queue/dead/{job.job.id}/requeue"
    status, error = await refusal(gateway.client, "POST", path)
    assert (status, "already has an active run" in error["message"]) == (400, True)
    assert [dead["id"] for dead in await listed(gateway, "/v1/queue/dead")] == [job.job.id]
    await worker.answer()
    await until_ended(gateway, other)
    await gateway.json("DELETE", f"/v1/threads/{thread_id}")
    assert (await refusal(gateway.client, "POST", path))[0] == 404


async def test_dead_letters_are_for_admins(gateway: Gateway) -> None:
    for method, path in (("GET", "/v1/queue/dead"), ("POST", "/v1/queue/dead/x/requeue")):
        async with gateway.client.request(method, path, headers=bearer("ann")) as answer:
            assert answer.status == 403


async def test_with_keys_the_admin_sees_all(
    storage_server: StorageServer, redis_server: RedisServer, redis: Redis
) -> None:
    await asyncio.to_thread(write_model, storage_server.janroot)
    queue = JobQueue(redis, Scripts.register(redis))
    await queue.submit(jobs_pb2.Job(id="j", tenant="key:other", model=jobs_pb2.ModelSpec(id=MODEL_ID)))
    async with running_gateway(
        storage_server, redis_server, JANROOT_AUTH="keys", JANROOT_ADMIN_KEY="the-admin-key"
    ) as gateway:
        assert [job["tenant"] for job in await listed(gateway, key="the-admin-key")] == ["key:other"]
        async with gateway.client.get("/v1/queue") as answer:
            assert answer.status == 401


async def test_people_who_share_the_one_key_are_told_apart_by_user(
    storage_server: StorageServer, redis_server: RedisServer, redis: Redis
) -> None:
    await asyncio.to_thread(write_model, storage_server.janroot)
    settings = {"JANROOT_AUTH": "keys", "JANROOT_ADMIN_KEY": "the-admin-key", "JANROOT_MAX_QUEUED_PER_PERSON": "1"}
    async with (
        running_gateway(storage_server, redis_server, **settings) as gateway,
        asked(gateway, redis, ("the-admin-key", chat(user="ann")), ("the-admin-key", chat(user="bob"))),
    ):
        waiting = await listed(gateway, key="the-admin-key")
        assert sorted(job["tenant"] for job in waiting) == ["user:ann", "user:bob"]


async def test_weights_of_the_setting_reach_the_queue(
    storage_server: StorageServer, redis_server: RedisServer, redis: Redis
) -> None:
    await asyncio.to_thread(write_model, storage_server.janroot)
    async with (
        running_gateway(storage_server, redis_server, JANROOT_QUEUE_WEIGHTS='{"user:ann": 4, "*": 0.5}') as gateway,
        asked(gateway, redis, ("", chat(user="ann")), ("", chat(user="bob"))) as [anns, bobs],
    ):
        assert [await _weight(redis, id_) for id_ in (anns, bobs)] == [4.0, 0.5]


async def _weight(redis: Redis, job_id: str) -> float:
    value: bytes = await redis.execute_command("HGET", keys.job(job_id), "weight")  # type: ignore[no-untyped-call]
    return float(value)
