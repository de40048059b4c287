"""`Idempotency-Key`: a request that is sent again is not done again, and one person's key is not another's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.keys import RECORDED, STORAGE
from jan import keys
from jan.errors import UnavailableError
from jan.queue.scripts import Script
from tests.fixtures.gateway import MODEL_ID, Gateway, running_gateway
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.client import form
from tests.gateway.routes.test_runs import new_thread, parse_events, until_ended

CHAT = "/v1/chat/completions"
REPLAYED = "Idempotency-Replayed"


async def post(
    gateway: Gateway, path: str, body: Any = None, key: str = "k", token: str = ""
) -> tuple[int, bytes, Mapping[str, str]]:
    headers = {"Idempotency-Key": key} | ({"Authorization": f"Bearer {token}"} if token else {})
    async with gateway.client.post(path, json=body, headers=headers) as response:
        return response.status, await response.read(), response.headers


async def until_settled(gateway: Gateway) -> None:
    """Wait for requests whose clients left."""
    while gateway.app[RECORDED]._tasks:
        await asyncio.wait(set(gateway.app[RECORDED]._tasks))


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL_ID, "messages": [{"role": "user", "content": "Hi"}], **fields}


async def test_a_repeated_post_gets_the_first_answer_and_does_nothing(gateway: Gateway) -> None:
    first = await post(gateway, "/v1/threads", {"metadata": {"a": "b"}})
    again = await post(gateway, "/v1/threads", {"metadata": {"a": "b"}})
    assert first[:2] == again[:2]
    assert (REPLAYED in first[2], again[2][REPLAYED]) == (False, "true")
    assert first[2]["Content-Type"] == again[2]["Content-Type"]
    assert first[2]["x-request-id"] != again[2]["x-request-id"]
    assert len((await gateway.json("GET", "/v1/threads"))["data"]) == 1


async def test_another_gateway_knows_the_answer(
    storage_server: StorageServer, redis_server: RedisServer, redis: Redis
) -> None:
    async with (
        running_gateway(storage_server, redis_server) as one,
        running_gateway(storage_server, redis_server) as two,
    ):
        assert (await post(one, "/v1/threads", {}))[:2] == (await post(two, "/v1/threads", {}))[:2]


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/threads", {"metadata": {"a": "c"}}), ("/v1/assistants", {"model": MODEL_ID})]
)
async def test_another_request_under_the_same_key_is_refused(gateway: Gateway, path: str, body: Any) -> None:
    await post(gateway, "/v1/threads", {"metadata": {"a": "b"}})
    status, answer, _ = await post(gateway, path, body)
    assert (status, json.loads(answer)["error"]["code"]) == (422, "idempotency_key_reused")


async def test_one_persons_key_is_not_anothers(gateway: Gateway) -> None:
    ann = await post(gateway, "/v1/threads", {}, token="ann")
    bob = await post(gateway, "/v1/threads", {}, token="bob")
    nobody = await post(gateway, "/v1/threads", {})
    assert len({json.loads(body)["id"] for _, body, _ in (ann, bob, nobody)}) == 3
    assert not any(REPLAYED in headers for _, _, headers in (ann, bob, nobody))


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "tab\there", "ü"])
async def test_a_bad_key_is_refused_and_nothing_is_done(gateway: Gateway, key: str) -> None:
    status, answer, _ = await post(gateway, "/v1/threads", {}, key=key)
    assert (status, json.loads(answer)["error"]["code"]) == (400, "invalid_idempotency_key")
    assert (await gateway.json("GET", "/v1/threads"))["data"] == []


async def test_a_refusal_is_kept_and_a_server_error_is_not(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await post(gateway, "/v1/threads", {"metadata": {"a": 5}})
    assert (first[0], (await post(gateway, "/v1/threads", {"metadata": {"a": 5}}))[:2]) == (400, first[:2])

    async def away(_: Any) -> Any:
        raise UnavailableError("Away.")

    with monkeypatch.context() as patch:
        patch.setattr(gateway.app[STORAGE], "create_thread", away)
        assert (await post(gateway, "/v1/threads", {}, key="other"))[0] == 503
    status, _, headers = await post(gateway, "/v1/threads", {}, key="other")
    assert (status, REPLAYED in headers) == (200, False)


async def test_what_redis_would_not_take_is_settled_when_it_does(
    gateway: Gateway, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk of Redis neither locks a key for a minute nor forgets what was answered."""
    create = gateway.app[STORAGE].create_thread

    async def on_a_full_disk(*arguments: Any, **named: Any) -> Any:
        await redis.config_set("maxmemory", "1")
        if named.pop("fails", False):
            raise UnavailableError("Not now.")
        return await create(*arguments, **named)

    try:
        monkeypatch.setattr(gateway.app[STORAGE], "create_thread", partial(on_a_full_disk, fails=True))
        refused = await post(gateway, "/v1/threads", {}, key="refused")
        await redis.config_set("maxmemory", "0")
        await until_settled(gateway)
        monkeypatch.setattr(gateway.app[STORAGE], "create_thread", on_a_full_disk)
        done = await post(gateway, "/v1/threads", {}, key="done")
    finally:
        await redis.config_set("maxmemory", "0")
    await until_settled(gateway)
    monkeypatch.undo()
    assert (refused[0], (await post(gateway, "/v1/threads", {}, key="refused"))[0]) == (503, 200)
    again = await post(gateway, "/v1/threads", {}, key="done")
    assert (done[0], again[2][REPLAYED], done[1] == again[1]) == (200, "true", True)


async def test_a_claim_whose_reply_is_lost_locks_no_key(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that stands still does later what it was asked, when nobody waits for it any more."""
    answers = gateway.app[RECORDED]
    scripts = answers._scripts

    async def done_and_not_told(**named: Any) -> Any:
        await scripts.claim(**named)
        raise RedisTimeoutError

    monkeypatch.setattr(answers, "_scripts", replace(scripts, claim=cast(Script, done_and_not_told)))
    refused = await post(gateway, "/v1/threads", {})
    monkeypatch.undo()
    await until_settled(gateway)
    assert (refused[0], (await post(gateway, "/v1/threads", {}))[0]) == (503, 200)


async def test_a_request_that_is_being_answered_is_not_begun_again(gateway: Gateway, worker: ScriptedWorker) -> None:
    asking = asyncio.create_task(post(gateway, CHAT, chat()))
    job = await worker.take()
    status, answer, headers = await post(gateway, CHAT, chat())
    assert (status, json.loads(answer)["error"]["code"]) == (409, "idempotency_key_in_use")
    assert headers["Retry-After"] == "1"
    await job.answer_whole("once")
    first = await asking
    assert (await post(gateway, CHAT, chat()))[:2] == first[:2]


async def test_a_whole_stream_is_repeated_to_the_byte(gateway: Gateway, worker: ScriptedWorker) -> None:
    asking = asyncio.create_task(post(gateway, CHAT, chat(stream=True)))
    await worker.answer(["a", "b"])
    first = await asking
    again = await post(gateway, CHAT, chat(stream=True))
    assert first[:2] == again[:2]
    assert again[2]["Content-Type"].startswith("text/event-stream")
    assert again[2][REPLAYED] == "true"


async def test_a_chat_whose_client_left_is_answered_anew(gateway: Gateway, worker: ScriptedWorker) -> None:
    asking = asyncio.create_task(post(gateway, CHAT, chat()))
    job = await worker.take()
    asking.cancel()
    await job.until_cancelled()
    await until_settled(gateway)
    again = asyncio.create_task(post(gateway, CHAT, chat()))
    await worker.answer(["anew"])
    assert b"anew" in (await again)[1]


async def test_an_object_whose_client_left_is_made_once(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = gateway.app[STORAGE]
    create_thread = storage.create_thread
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(draft: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await create_thread(draft)

    monkeypatch.setattr(storage, "create_thread", slow)
    asking = asyncio.create_task(post(gateway, "/v1/threads", {}))
    await begun.wait()
    asking.cancel()
    go_on.set()
    await until_settled(gateway)
    status, answer, headers = await post(gateway, "/v1/threads", {})
    [thread] = (await gateway.json("GET", "/v1/threads"))["data"]
    assert (status, json.loads(answer)["id"], headers[REPLAYED]) == (200, thread["id"], "true")


async def test_a_runs_stream_is_followed_again_from_its_beginning(gateway: Gateway, worker: ScriptedWorker) -> None:
    body = {"assistant_id": "jan", "stream": True, "thread": {"messages": [{"role": "user", "content": "Hi"}]}}
    first = await gateway.client.post("/v1/threads/runs", json=body, headers={"Idempotency-Key": "k"})
    job = await worker.take()
    await job.begin()
    await job.say("half")
    again = asyncio.create_task(post(gateway, "/v1/threads/runs", body))
    first.close()  # in the middle of the answer
    await job.finish()
    status, text, headers = await again
    events = parse_events(text.decode())
    names = [name for name, _ in events]
    assert (status, headers[REPLAYED], names[0], names[-2:]) == (
        200,
        "true",
        "thread.created",
        ["thread.run.completed", "done"],
    )
    assert len((await gateway.json("GET", "/v1/threads"))["data"]) == 1


async def test_a_run_is_started_once(gateway: Gateway, worker: ScriptedWorker) -> None:
    thread_id = await new_thread(gateway, "Hi")
    path = f"/v1/threads/{thread_id}/runs"
    first = await post(gateway, path, {"assistant_id": "jan"})
    assert (await post(gateway, path, {"assistant_id": "jan"}))[:2] == first[:2]
    await worker.answer()
    await until_ended(gateway, json.loads(first[1]))
    assert (await post(gateway, path, {"assistant_id": "jan"}))[:2] == first[:2]
    assert len((await gateway.json("GET", path))["data"]) == 1


async def upload(gateway: Gateway, data: bytes, key: str = "k") -> tuple[int, dict[str, Any]]:
    headers = {"Idempotency-Key": key}
    async with gateway.client.post("/v1/files", data=form(data), headers=headers) as response:
        return response.status, await response.json()


async def test_an_upload_is_known_again_whatever_its_boundary(gateway: Gateway) -> None:
    first = await upload(gateway, b"x" * 300_000)
    assert await upload(gateway, b"x" * 300_000) == first
    for other in (b"x" * 299_999 + b"y", b"x" * 300_001, b"x"):
        assert (await upload(gateway, other))[0] == 422
    assert [file["id"] for file in (await gateway.json("GET", "/v1/files"))["data"]] == [first[1]["id"]]


async def test_an_answer_beyond_the_bound_is_not_kept_and_not_made_twice(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, redis: Redis
) -> None:
    monkeypatch.setattr(keys, "RECORDED_MAX_BYTES", 10)
    await post(gateway, "/v1/threads", {})
    status, answer, _ = await post(gateway, "/v1/threads", {})
    assert (status, json.loads(answer)["error"]["code"]) == (410, "answer_not_kept")
    [record] = [key async for key in redis.scan_iter(keys.recorded("*"))]
    assert 0 < await redis.ttl(record) <= keys.IDLE_TTL_SECONDS


async def test_a_key_on_a_get_or_an_unknown_route_means_nothing(gateway: Gateway) -> None:
    async with gateway.client.get("/v1/threads", headers={"Idempotency-Key": "x" * 300}) as response:
        assert response.status == 200
    assert (await post(gateway, "/v1/nowhere", {}))[0] == 404
