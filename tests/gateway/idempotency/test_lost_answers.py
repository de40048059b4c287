"""A keyed POST whose storage or gateway dies between the write and the answer is not done twice, but found again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import FormData, web
from redis.asyncio import Redis

from gateway.keys import RECORDED, STORAGE, VECTOR_STORES
from jan import keys, rpc
from jan.errors import UnavailableError
from jan.queue.attendance import Attendance
from jan.queue.leases import LeaseKind, LeaseWatch
from tests.fixtures.gateway import MODEL_ID, Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.storage_process import Service
from tests.fixtures.worker import ScriptedWorker
from tests.fixtures.zips import zip_of
from tests.gateway.client import form
from tests.gateway.routes.test_runs import new_thread, parse_events

HI = {"role": "user", "content": "Hi"}
NEW_STORE: dict[str, Any] = {"file_search": {"vector_stores": [{}]}}
# Made once: a zip holds the time at which it was made.
NAMELESS = zip_of({"assistant.json": b'{"name": "B", "model": "*"}'})


@dataclass(frozen=True)
class Making:
    """A request that makes something, and the write behind it that is the last one; `{}` is a thread's id."""

    path: str
    write: str
    body: Any = None
    upload: Callable[[], FormData] | None = None
    of: web.AppKey[Any] = STORAGE


MAKINGS = {
    "a thread": Making("/v1/threads", "create_thread", {"messages": [HI, HI], "title": "T"}),
    "an empty thread": Making("/v1/threads", "create_thread"),
    "a message": Making("/v1/threads/{}/messages", "create_message", HI),
    "a run": Making("/v1/threads/{}/runs", "create_run", {"assistant_id": "jan", "additional_messages": [HI, HI]}),
    "a thread and its run": Making(
        "/v1/threads/runs", "create_run", {"assistant_id": "jan", "thread": {"messages": [HI]}}
    ),
    "an assistant": Making("/v1/assistants", "create_assistant", {"model": MODEL_ID, "name": "A"}),
    "an assistant and its vector store": Making(
        "/v1/assistants", "create_assistant", {"model": MODEL_ID, "tool_resources": NEW_STORE}
    ),
    "a thread and its vector store": Making("/v1/threads", "create_thread", {"tool_resources": NEW_STORE}),
    "a copy": Making("/v1/threads/{}/clone", "clone_thread", {"title": "Copy"}),
    "a file": Making("/v1/files", "create_file", upload=lambda: form(b"bytes")),
    "a vector store": Making("/v1/vector_stores", "create", {"name": "V"}, of=VECTOR_STORES),
    "an assistant from a zip that names none": Making(
        "/v1/assistants/import",
        "import_assistant",
        upload=lambda: form(NAMELESS, "x.zip"),
    ),
}
ALL = pytest.mark.parametrize("making", MAKINGS.values(), ids=MAKINGS.keys())


async def send(gateway: Gateway, making: Making, thread_id: str, key: str = "k") -> tuple[int, Any]:
    headers = {"Idempotency-Key": key}
    body: dict[str, Any] = {"data": making.upload()} if making.upload else {"json": making.body}
    async with gateway.client.post(making.path.format(thread_id), headers=headers, **body) as response:
        return response.status, await response.json()


async def everything(gateway: Gateway) -> set[str]:
    """The ids of all that the janroot holds; a message's with its thread's."""
    found = set[str]()
    threads = (await gateway.json("GET", "/v1/threads?limit=100"))["data"]
    for thread in threads:
        for noun in ("messages", "runs"):
            listed = (await gateway.json("GET", f"/v1/threads/{thread['id']}/{noun}?limit=100"))["data"]
            found |= {f"{thread['id']}/{each['id']}" for each in listed}
    for each in [
        *threads,
        *(await gateway.json("GET", "/v1/assistants"))["data"],
        *(await gateway.json("GET", "/v1/files"))["data"],
        *(await gateway.json("GET", "/v1/vector_stores"))["data"],
    ]:
        found.add(each["id"])
    return found


def after_the_write(
    gateway: Gateway, making: Making, happens: Callable[[], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Have something happen once between the write behind a request and its answer, which the gateway never gets."""
    storage = gateway.app[making.of]
    write = getattr(storage, making.write)

    async def lost(*args: Any) -> Any:
        monkeypatch.setattr(storage, making.write, write)
        await write(*args)
        await happens()
        raise UnavailableError("Storage is not answering; try again.")

    monkeypatch.setattr(storage, making.write, lost)


def soon_gone(gateway: Gateway, redis: Redis) -> None:
    """Have a gateway take those for gone that it sees stand still or away once: only asked for, none is."""
    gateway.app[RECORDED]._gateways = LeaseWatch(redis, LeaseKind.GATEWAY, lease_seconds=0)


async def nothing() -> None:
    return None


async def nothing_told(_: Attendance) -> None:
    return None


async def never() -> None:
    await asyncio.Event().wait()


@ALL
async def test_what_was_made_is_answered_and_not_made_again(
    gateway: Gateway, making: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread_id = await new_thread(gateway, "first")
    before = await everything(gateway)
    after_the_write(gateway, making, nothing, monkeypatch)
    assert (await send(gateway, making, thread_id))[0] == 503
    made = await everything(gateway)
    status, answer = await send(gateway, making, thread_id)
    assert (status, await everything(gateway)) == (200, made)
    assert any(id_.endswith(answer["id"]) for id_ in made - before)


@ALL
async def test_another_gateway_answers_for_one_that_died(
    storage_server: StorageServer,
    redis_server: RedisServer,
    redis: Redis,
    making: Making,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await asyncio.to_thread(write_model, storage_server.janroot)
    async with (
        running_gateway(storage_server, redis_server) as first,
        running_gateway(storage_server, redis_server) as second,
    ):
        thread_id = await new_thread(first, "first")
        written, gone = asyncio.Event(), asyncio.Event()

        async def die() -> None:
            written.set()
            await gone.wait()

        after_the_write(first, making, die, monkeypatch)
        asking = asyncio.create_task(send(first, making, thread_id))
        await written.wait()
        assert (await send(second, making, thread_id))[0] == 409
        monkeypatch.setattr(Attendance, "beat", nothing_told)
        await redis.delete(keys.leases(LeaseKind.GATEWAY))  # as an engine host does with a lease that stands still
        made = await everything(second)
        soon_gone(second, redis)
        while (status := (await send(second, making, thread_id))[0]) == 409:  # a last beat was on its way
            await second.app[RECORDED].look()
        assert (status, await everything(second)) == (200, made)
        asking.cancel()
        gone.set()


@asynccontextmanager
async def over_a_process(service: Service, redis_server: RedisServer) -> AsyncIterator[tuple[Gateway, list[Any]]]:
    """A gateway over storage as a process, and that process: to be killed, and started again."""
    await asyncio.to_thread(write_model, service.janroot)
    processes = [await service.launch()]
    try:
        async with rpc.open_channel(service.address) as channel:
            while not await rpc.is_serving(channel):
                assert processes[0].returncode is None
            server = StorageServer(service.janroot, service.address, channel)
            async with running_gateway(server, redis_server) as gateway:
                yield gateway, processes
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@pytest.mark.parametrize("name", ["a thread", "a message", "a run", "a copy"])
async def test_storage_killed_behind_the_write(
    service: Service, redis_server: RedisServer, redis: Redis, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    making = MAKINGS[name]
    async with over_a_process(service, redis_server) as (gateway, processes):
        thread_id = await new_thread(gateway, "first")

        async def kill() -> None:
            processes[-1].kill()
            await processes[-1].wait()

        after_the_write(gateway, making, kill, monkeypatch)
        assert (await send(gateway, making, thread_id))[0] == 503
        processes.append(await service.launch())
        while (await gateway.client.get("/v1/threads")).status != 200:
            pass
        made = await everything(gateway)
        status, _ = await send(gateway, making, thread_id)
        assert (status, await everything(gateway)) == (200, made)


async def test_a_run_whose_thread_alone_was_made_is_begun_on_it(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    making = MAKINGS["a thread and its run"]
    after_the_write(gateway, Making(making.path, "create_thread", making.body), nothing, monkeypatch)
    assert (await send(gateway, making, ""))[0] == 503
    [thread] = (await gateway.json("GET", "/v1/threads"))["data"]
    status, run = await send(gateway, making, "")
    assert (status, run["thread_id"]) == (200, thread["id"])
    assert len((await gateway.json("GET", "/v1/threads"))["data"]) == 1


async def test_a_run_that_has_ended_meanwhile_is_told_and_not_run_again(
    gateway: Gateway, worker: ScriptedWorker, redis: Redis
) -> None:
    path, headers = f"/v1/threads/{await new_thread(gateway, 'Hi')}/runs", {"Idempotency-Key": "k"}
    body = {"assistant_id": "jan", "stream": True}
    first = await gateway.client.post(path, json=body, headers=headers)
    await worker.answer(["once"])
    said = await first.read()
    await redis.delete(*[key async for key in redis.scan_iter("jan:recorded:*")])
    async with gateway.client.post(path, json=body, headers=headers) as again:
        assert await again.read() == said
    assert [name for name, _ in parse_events(said.decode())][-2:] == ["thread.run.completed", "done"]
    assert len((await gateway.json("GET", path))["data"]) == 1


async def test_items_of_a_conversation_are_listed_as_they_were_added(
    gateway: Gateway, worker: ScriptedWorker, redis: Redis
) -> None:
    asking = asyncio.create_task(gateway.json("POST", "/v1/responses", {"model": MODEL_ID, "input": "Hi"}))
    await worker.answer(["Well."])
    [said] = (await asking)["output"]
    conversation = await gateway.json("POST", "/v1/conversations", {})
    reference = {"type": "item_reference", "id": said["id"]}
    adding = Making(f"/v1/conversations/{conversation['id']}/items", "", {"items": [reference, HI, reference]})
    _, added = await send(gateway, adding, "")
    assert [item["role"] for item in added["data"]] == ["assistant", "user"]
    await redis.delete(*[key async for key in redis.scan_iter("jan:recorded:*")])
    assert await send(gateway, adding, "") == (200, added)
    listed = await gateway.json("GET", f"{adding.path}?order=asc")
    assert listed["data"] == added["data"]


async def test_a_thread_that_was_deleted_since_is_not_made_again(gateway: Gateway, redis: Redis) -> None:
    making = MAKINGS["a thread"]
    _, thread = await send(gateway, making, "")
    await gateway.json("DELETE", f"/v1/threads/{thread['id']}")
    await redis.flushall()
    status, answer = await send(gateway, making, "")
    assert (status, answer["error"]["code"]) == (410, "thread_deleted")


async def test_other_keys_other_people_and_other_bodies_make_other_things(gateway: Gateway, redis: Redis) -> None:
    made = set()
    for key, token, title in (("k", "", "T"), ("l", "", "T"), ("k", "ann", "T"), ("k", "", "U")):
        await redis.flushall()
        headers = {"Idempotency-Key": key} | ({"Authorization": f"Bearer {token}"} if token else {})
        async with gateway.client.post("/v1/threads", json={"title": title}, headers=headers) as response:
            made.add(json.loads(await response.read())["id"])
    assert len(made) == 4
