"""Anthropic's batches through its stock client, with a worker whose words are the test's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic
from anthropic.types.messages import MessageBatch
from redis.asyncio import Redis

from gateway.batches import executor as executor_module
from gateway.batches import validation
from gateway.keys import BATCHES as BATCHES_KEY
from gateway.queueing import holdings as holdings_module
from jan.errors import InvalidArgumentError, StorageFullError, UnavailableError
from jan.inference.v1 import jobs_pb2
from tests.fixtures.gateway import MODEL_ID, Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.batches.batch_files import line, lines, new_batch, until

BATCHES = "/v1/messages/batches"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_module, "RECONCILE_SECONDS", 0.05)
    monkeypatch.setattr(holdings_module, "RENEW_SECONDS", 0.02)


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=gateway.url, api_key="ann", max_retries=0, timeout=50) as client:
        yield client


def asking(custom_id: str, **params: Any) -> Any:
    asked = {"model": MODEL_ID, "max_tokens": 50, "messages": [{"role": "user", "content": custom_id}]}
    return {"custom_id": custom_id, "params": asked | params}


async def until_ended(client: AsyncAnthropic, batch: MessageBatch) -> MessageBatch:
    async with asyncio.timeout(50):
        while (now := await client.messages.batches.retrieve(batch.id)).processing_status != "ended":
            pass
        return now


async def results(client: AsyncAnthropic, batch: MessageBatch) -> dict[str, Any]:
    """What became of each request, by its id."""
    found = [one async for one in await client.messages.batches.results(batch.id)]
    by_id = {one.custom_id: one.result for one in found}
    assert len(by_id) == len(found)
    return by_id


def counts(batch: MessageBatch) -> dict[str, int]:
    """The counts that are not zero."""
    return {name: number for name, number in batch.request_counts.model_dump().items() if number}


async def test_more_messages_than_openai_takes_requests(
    gateway: Gateway, worker: ScriptedWorker, client: AsyncAnthropic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "MAX_REQUESTS", 2)
    batch = await client.messages.batches.create(requests=map(asking, "abc"))
    for word in ("x", "y", "z"):
        await worker.answer([word])
    assert counts(await until_ended(client, batch)) == {"succeeded": 3}
    of_openai = await until(gateway, await new_batch(gateway, lines(map(line, "abc"))))
    assert of_openai["status"] == "failed"
    assert [one["code"] for one in of_openai["errors"]["data"]] == ["too_many_requests"]


async def test_three_messages(gateway: Gateway, worker: ScriptedWorker, client: AsyncAnthropic) -> None:
    batch = await client.messages.batches.create(requests=map(asking, "abc"))
    assert batch.id.startswith("msgbatch_")
    assert (batch.type, batch.processing_status, counts(batch)) == ("message_batch", "in_progress", {"processing": 3})
    assert batch.expires_at - batch.created_at == timedelta(hours=24)
    assert abs(batch.created_at - datetime.now(UTC)) < timedelta(minutes=5)
    assert (batch.results_url, batch.ended_at, batch.cancel_initiated_at, batch.archived_at) == (None,) * 4
    with pytest.raises(anthropic.BadRequestError, match="no results yet"):
        await client.get(f"{BATCHES}/{batch.id}/results", cast_to=object)
    taken = [await worker.answer([word]) for word in ("x", "y", "z")]
    assert {one.job.priority for one in taken} == {jobs_pb2.PRIORITY_BATCH}
    assert all(one.job.tenant.startswith("key:") for one in taken)
    ended = await until_ended(client, batch)
    assert counts(ended) == {"succeeded": 3}
    assert ended.ended_at is not None
    assert ended.ended_at >= batch.created_at
    asked = {one.body["messages"][0]["content"]: said for one, said in zip(taken, "xyz", strict=True)}
    found = await results(client, ended)
    assert {name: result.message.content[0].text for name, result in found.items()} == asked
    for result in found.values():
        message = result.message
        assert (message.id[:4], message.model, message.stop_reason) == ("msg_", MODEL_ID, "end_turn")
        assert (message.usage.input_tokens, message.usage.service_tier) == (7, "batch")
    with pytest.raises(anthropic.BadRequestError, match="has ended"):
        await client.messages.batches.cancel(batch.id)


async def test_what_is_wrong_with_one_request_is_its_result(
    storage_server: StorageServer, worker: ScriptedWorker, client: AsyncAnthropic
) -> None:
    write_model(storage_server.janroot, "local", engine="llamacpp", format="gguf", sources=[])
    requests = [
        asking("good", model="local", stop_sequences=["END"]),
        asking("no-model", model="nobody"),
        asking("streamed", stream=True),
        asking("wrong", temperature=9),
        asking("unknown", no_such_field=1),
        asking("broken"),
    ]
    batch = await client.messages.batches.create(requests=requests)
    for _ in range(2):
        job = await worker.take()
        if job.body["messages"][0]["content"] == "broken":
            await job.fail(InvalidArgumentError("Too long."))
        else:
            await job.begin()
            await job.say("Well EN", "D and more")
            await job.until_cancelled()
    ended = await until_ended(client, batch)
    assert counts(ended) == {"succeeded": 1, "errored": 5}
    found = await results(client, ended)
    message = found.pop("good").message
    assert (message.content[0].text, message.stop_reason, message.stop_sequence) == ("Well ", "stop_sequence", "END")
    told = {name: (result.type, result.error.error.type) for name, result in found.items()}
    refused = ("errored", "invalid_request_error")
    assert told == {
        "no-model": ("errored", "not_found_error"),
        **dict.fromkeys(("streamed", "wrong", "unknown", "broken"), refused),
    }
    assert "stream" in found["streamed"].error.error.message
    assert found["wrong"].error.request_id.startswith("req_")


async def test_a_cancelled_batch_keeps_what_there_is(worker: ScriptedWorker, client: AsyncAnthropic) -> None:
    batch = await client.messages.batches.create(requests=map(asking, "abcd"))
    await (await worker.take()).fail(UnavailableError("Broke.", code="cancelled"))
    done = await worker.answer(["said"])
    running = await worker.take()
    canceling = await client.messages.batches.cancel(batch.id)
    assert canceling.processing_status == "canceling"
    assert canceling.cancel_initiated_at is not None
    assert counts(canceling) == {"processing": 4}
    await running.until_cancelled()
    ended = await until_ended(client, batch)
    assert ended.cancel_initiated_at == canceling.cancel_initiated_at
    found = await results(client, ended)
    assert found.keys() == set("abcd")
    told = [result.type for result in found.values()]
    # The results of those that had ended may not have been kept when it was cancelled.
    assert counts(ended) == {
        name: number
        for name, kind in (("succeeded", "succeeded"), ("errored", "errored"), ("canceled", "canceled"))
        if (number := told.count(kind))
    }
    assert told.count("canceled") >= 2
    assert found[done.body["messages"][0]["content"]].type in {"succeeded", "canceled"}


async def test_a_batch_whose_time_is_up_expires(client: AsyncAnthropic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.routes.anthropic_batches.LIFETIME", timedelta(seconds=0))
    ended = await until_ended(client, await client.messages.batches.create(requests=map(asking, "ab")))
    assert counts(ended) == {"expired": 2}
    assert {result.type for result in (await results(client, ended)).values()} == {"expired"}


async def test_neither_api_shows_the_batches_of_the_other(gateway: Gateway, client: AsyncAnthropic) -> None:
    openais = await new_batch(gateway, lines([line("a", {"model": "nobody", "messages": []})]))
    anthropics = await client.messages.batches.create(requests=[asking("a", model="nobody")])
    assert [one["id"] for one in (await gateway.json("GET", "/v1/batches"))["data"]] == [openais["id"]]
    assert [one.id async for one in client.messages.batches.list()] == [anthropics.id]
    await until_ended(client, anthropics)
    for path in ("", "/cancel"):
        method = "POST" if path else "GET"
        await gateway.json(method, f"/v1/batches/{anthropics.id}{path}", status=404)
        await gateway.json(method, f"{BATCHES}/{openais['id']}{path}", status=404)
    await gateway.json("DELETE", f"{BATCHES}/{openais['id']}", status=404)


async def test_lists_page_both_ways(client: AsyncAnthropic) -> None:
    made = [(await client.messages.batches.create(requests=[asking("a", model="nobody")])).id for _ in range(5)]
    newest_first = made[::-1]
    assert [one.id async for one in client.messages.batches.list(limit=2)] == newest_first
    behind = await client.messages.batches.list(after_id=newest_first[0], limit=2)
    assert ([one.id for one in behind.data], behind.has_more) == (newest_first[1:3], True)
    assert (behind.first_id, behind.last_id) == (newest_first[1], newest_first[2])
    before = await client.messages.batches.list(before_id=newest_first[2], limit=1000)
    assert ([one.id for one in before.data], before.has_more) == (newest_first[:2], False)
    for wrong, name in (({"limit": 1001}, "limit"), ({"after_id": "x"}, "after_id"), ({"before_id": "x"}, "before_id")):
        with pytest.raises(anthropic.BadRequestError, match=name):
            await client.messages.batches.list(**wrong)


async def test_a_batch_that_has_ended_is_deleted_with_its_files(gateway: Gateway, client: AsyncAnthropic) -> None:
    batch = await client.messages.batches.create(requests=[asking("a", model="nobody")])
    ended = await until_ended(client, batch)
    assert len((await gateway.json("GET", "/v1/files"))["data"]) == 2
    deleted = await client.messages.batches.delete(ended.id)
    assert (deleted.id, deleted.type) == (ended.id, "message_batch_deleted")
    assert (await gateway.json("GET", "/v1/files"))["data"] == []
    assert [one async for one in client.messages.batches.list()] == []
    for gone in (client.messages.batches.delete, client.messages.batches.retrieve, client.messages.batches.cancel):
        with pytest.raises(anthropic.NotFoundError):
            await gone(ended.id)


async def test_its_results_are_where_it_says(gateway: Gateway, client: AsyncAnthropic) -> None:
    ended = await until_ended(client, await client.messages.batches.create(requests=[asking("a", model="nobody")]))
    path = f"{BATCHES}/{ended.id}/results"
    assert ended.results_url == gateway.url + path.removeprefix("/")
    assert [one.results_url async for one in client.messages.batches.list()] == [ended.results_url]
    async with gateway.client.get(ended.results_url, headers={"x-api-key": "ann"}) as answer:
        assert (answer.status, (await answer.json(content_type=None))["custom_id"]) == (200, "a")
    secure = await client.messages.batches.retrieve(ended.id, extra_headers={"X-Forwarded-Proto": "https"})
    assert secure.results_url == ended.results_url.replace("http:", "https:")


async def test_a_batch_that_goes_on_is_not_deleted(worker: ScriptedWorker, client: AsyncAnthropic) -> None:
    batch = await client.messages.batches.create(requests=[asking("a")])
    with pytest.raises(anthropic.BadRequestError, match="cancel it first"):
        await client.messages.batches.delete(batch.id)
    await worker.answer()
    assert counts(await until_ended(client, batch)) == {"succeeded": 1}


async def test_an_input_that_went_away_ends_it_with_errors(
    gateway: Gateway, worker: ScriptedWorker, client: AsyncAnthropic
) -> None:
    batch = await client.messages.batches.create(requests=map(asking, "ab"))
    await worker.take()
    [file] = (await gateway.json("GET", "/v1/files"))["data"]
    assert (file["purpose"], file["filename"]) == ("batch", f"{batch.id}_requests.jsonl")
    await gateway.json("DELETE", f"/v1/files/{file['id']}")
    await client.messages.batches.cancel(batch.id)
    ended = await until_ended(client, batch)
    assert (counts(ended), ended.results_url) == ({"errored": 2}, None)
    await gateway.json("GET", f"{BATCHES}/{batch.id}/results", status=404)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"requests": []}, "requests"),
        ({}, "requests"),
        ({"requests": [asking("a"), asking("a")]}, "requests.1.custom_id"),
        ({"requests": [asking("a" * 65)]}, "requests.0.custom_id"),
        ({"requests": [asking("a b")]}, "requests.0.custom_id"),
        ({"requests": [asking("")]}, "requests.0.custom_id"),
        ({"requests": [{"custom_id": "a"}]}, "requests.0.params"),
        ({"requests": [{"custom_id": "a", "params": []}]}, "requests.0.params"),
        ({"requests": [asking("a") | {"method": "POST"}]}, "requests.0.method"),
        ({"requests": [asking("a")], "workspace_id": "w"}, "workspace_id"),
        ({"requests": [asking("a")], "metadata": {}}, "metadata"),
    ],
)
async def test_what_cannot_be_asked_for(gateway: Gateway, body: Any, named: str) -> None:
    answer = await gateway.json("POST", BATCHES, body, status=400)
    assert answer["error"]["type"] == "invalid_request_error"
    assert named in answer["error"]["message"]
    assert (await gateway.json("GET", BATCHES))["data"] == []
    assert (await gateway.json("GET", "/v1/files"))["data"] == []


async def test_a_full_disk_keeps_nothing_of_it(
    gateway: Gateway, client: AsyncAnthropic, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise StorageFullError("The disk is full.")

    monkeypatch.setattr(gateway.app[BATCHES_KEY].client, "create", full)
    with pytest.raises(anthropic.InternalServerError, match="full"):
        await client.messages.batches.create(requests=[asking("a")])
    assert (await gateway.json("GET", "/v1/files"))["data"] == []


async def test_a_long_request_comes_whole(worker: ScriptedWorker, client: AsyncAnthropic) -> None:
    text = "a\n\u00fc" * 200_000
    messages: Any = [{"role": "user", "content": text}]
    batch = await client.messages.batches.create(requests=[asking("a", messages=messages), asking("b", model="nobody")])
    assert (await worker.answer()).body["messages"] == messages
    assert counts(await until_ended(client, batch)) == {"succeeded": 1, "errored": 1}


async def test_a_batch_goes_on_at_another_gateway(
    storage_server: StorageServer, redis_server: RedisServer, redis: Redis, worker: ScriptedWorker
) -> None:
    write_model(storage_server.janroot)
    async with running_gateway(storage_server, redis_server) as another:
        async with (
            running_gateway(storage_server, redis_server) as first,
            AsyncAnthropic(base_url=first.url, api_key="ann", max_retries=0) as client,
        ):
            batch = await client.messages.batches.create(requests=map(asking, "ab"))
            in_hand = await worker.take()
            await in_hand.begin()
            await in_hand.say("One")
        await in_hand.say(" two")
        await in_hand.finish()
        await worker.answer(["Three"])
        async with AsyncAnthropic(base_url=another.url, api_key="ann", max_retries=0) as client:
            found = await results(client, await until_ended(client, batch))
    assert sorted(result.message.content[0].text for result in found.values()) == ["One two", "Three"]


async def test_a_batch_that_is_sent_again_is_one(gateway: Gateway) -> None:
    async def send() -> Any:
        body = {"requests": [asking("a", model="nobody")]}
        async with gateway.client.post(BATCHES, json=body, headers={"Idempotency-Key": "one"}) as answer:
            assert answer.status == 200
            return await answer.json()

    assert (await send())["id"] == (await send())["id"]
    assert len((await gateway.json("GET", BATCHES))["data"]) == 1
