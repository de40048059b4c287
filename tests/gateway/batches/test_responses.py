"""Batches over the Responses API: stored as those that come alone, or not at all, and each once."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.batches import executor as executor_module
from gateway.queueing import holdings as holdings_module
from jan.inference.v1 import jobs_pb2
from tests.fixtures.gateway import MODEL_ID, Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.batches.batch_files import line, lines, new_batch, results, until
from tests.gateway.runs.test_file_search import new_store

RESPONSES = "/v1/responses"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_module, "RECONCILE_SECONDS", 0.05)
    monkeypatch.setattr(holdings_module, "RENEW_SECONDS", 0.02)
    monkeypatch.setattr("gateway.runs.executor.RECONCILE_SECONDS", 0.05)


def _line(name: str, **fields: Any) -> dict[str, Any]:
    return line(name, {"model": MODEL_ID, "input": name, **fields}, url=RESPONSES)


def _body(result: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = result["response"]["body"]
    return body


def _text(result: dict[str, Any]) -> str:
    return "".join(part["text"] for item in _body(result)["output"] for part in item["content"])


async def test_each_is_stored_as_it_says(gateway: Gateway, worker: ScriptedWorker) -> None:
    batch = await new_batch(gateway, lines([_line("kept"), _line("gone", store=False)]), endpoint=RESPONSES)
    taken = [await worker.answer([word]) for word in ("x", "y")]
    assert {one.job.priority for one in taken} == {jobs_pb2.PRIORITY_BATCH}
    ended = await until(gateway, batch)
    assert (ended["status"], ended["endpoint"]) == ("completed", RESPONSES)
    assert ended["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
    assert ended["usage"]["total_tokens"] == 20
    found = await results(gateway, ended["output_file_id"])
    said = {one.body["messages"][0]["content"]: word for one, word in zip(taken, "xy", strict=True)}
    assert {name: _text(one) for name, one in found.items()} == said
    kept = _body(found["kept"])
    assert (kept["object"], kept["status"], kept["store"]) == ("response", "completed", True)
    assert await gateway.json("GET", f"/v1/responses/{kept['id']}") == kept
    gone = _body(found["gone"])
    assert (gone["store"], gone["thread_id"]) == (False, None)
    await gateway.json("GET", f"/v1/responses/{gone['id']}", status=404)
    assert len((await gateway.json("GET", "/v1/threads"))["data"]) == 1


async def test_files_are_searched_first(gateway: Gateway, worker: ScriptedWorker) -> None:
    store_id, [file_id] = await new_store(gateway, tomatoes="Plant tomatoes in May")
    tool = {"type": "file_search", "vector_store_ids": [store_id]}
    fields = {"tools": [tool], "include": ["file_search_call.results"]}
    asked = [_line("Tomatoes?", store=store, **fields) | {"custom_id": str(store)} for store in (True, False)]
    batch = await new_batch(gateway, lines(asked), endpoint=RESPONSES)
    for _ in asked:
        taken = await worker.answer(["May [1]"])
        assert "Plant tomatoes in May" in taken.body["messages"][0]["content"]
    found = await results(gateway, (await until(gateway, batch))["output_file_id"])
    for result in found.values():
        searched, answer = _body(result)["output"]
        assert [one["text"] for one in searched["results"]] == ["Plant tomatoes in May"]
        assert [one["file_id"] for one in answer["content"][0]["annotations"]] == [file_id]


async def test_what_cannot_be_done_in_a_batch_is_refused_in_its_line(gateway: Gateway) -> None:
    nowhere = {"type": "file_search", "vector_store_ids": ["vs_none"]}
    wrong = [
        _line("search", tools=[nowhere]),
        _line("search unkept", tools=[nowhere], store=False),
        _line("streamed", stream=True),
        _line("behind", background=True),
        _line("tool", tools=[{"type": "web_search"}]),
        _line("model", model="nobody"),
        _line("before", previous_response_id="resp_none"),
    ]
    ended = await until(gateway, await new_batch(gateway, lines(wrong), endpoint=RESPONSES))
    found = await results(gateway, ended["error_file_id"])
    told = {
        name: (one["response"]["status_code"], one["response"]["body"]["error"]["param"]) for name, one in found.items()
    }
    assert told == {
        "search": (404, "tools[0].vector_store_ids[0]"),
        "search unkept": (404, "tools[0].vector_store_ids[0]"),
        "streamed": (400, "stream"),
        "behind": (400, "background"),
        "tool": (400, "tools[0]"),
        "model": (404, "model"),
        "before": (400, "previous_response_id"),
    }
    assert (await gateway.json("GET", "/v1/threads"))["data"] == []


async def test_those_of_one_conversation_take_turns(gateway: Gateway, worker: ScriptedWorker) -> None:
    conversation = (await gateway.json("POST", "/v1/conversations", {}))["id"]
    asked = [_line(name, conversation=conversation) for name in ("one", "two", "three")]
    batch = await new_batch(gateway, lines(asked), endpoint=RESPONSES)
    shown = [len((await worker.answer(["said"])).body["messages"]) for _ in asked]
    assert shown == [1, 3, 5]
    assert (await until(gateway, batch))["request_counts"] == {"total": 3, "completed": 3, "failed": 0}


async def test_a_cancelled_batch_stops_its_responses(gateway: Gateway, worker: ScriptedWorker) -> None:
    batch = await new_batch(gateway, lines([_line("a")]), endpoint=RESPONSES)
    running = await worker.take()
    await running.begin()
    await gateway.json("POST", f"/v1/batches/{batch['id']}/cancel")
    await running.until_cancelled()
    ended = await until(gateway, batch)
    assert ended["status"] == "cancelled"
    left = await results(gateway, ended["error_file_id"])
    assert [one["error"]["code"] for one in left.values()] == ["batch_cancelled"]


async def test_a_gateway_that_stops_hands_stored_responses_over(
    storage_server: StorageServer, redis_server: RedisServer, redis: Redis, worker: ScriptedWorker
) -> None:
    """Nothing is asked twice, and no thread is made twice."""
    write_model(storage_server.janroot)
    async with running_gateway(storage_server, redis_server) as second:
        async with running_gateway(storage_server, redis_server) as first:
            batch = await new_batch(first, lines(map(_line, "ab")), endpoint=RESPONSES)
            in_hand = [await worker.take(), await worker.take()]
        for word, taken in zip("xy", in_hand, strict=True):
            await _say(taken, word)
        ended = await until(second, batch)
        assert ended["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
        found = await results(second, ended["output_file_id"])
        assert sorted(map(_text, found.values())) == ["x", "y"]
        assert len((await second.json("GET", "/v1/threads"))["data"]) == 2


async def _say(taken: Any, word: str) -> None:
    await taken.begin()
    await taken.say(word)
    await taken.finish()
