"""A batch from its input file to its output file, over HTTP, with a worker whose words are the test's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.batches import executor as executor_module
from gateway.batches.client import BatchClient
from gateway.batches.requests import job_of
from gateway.keys import BATCHES
from gateway.queueing import holdings as holdings_module
from jan.errors import InvalidArgumentError, UnavailableError
from jan.inference.v1 import jobs_pb2
from tests.fixtures.gateway import Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.batches.batch_files import line, lines, new_batch, results, until
from tests.gateway.client import refusal, upload


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_module, "RECONCILE_SECONDS", 0.05)
    monkeypatch.setattr(holdings_module, "RENEW_SECONDS", 0.02)


async def test_three_chats(gateway: Gateway, worker: ScriptedWorker) -> None:
    batch = await new_batch(gateway, lines(map(line, "abc")), metadata={"why": "test"})
    assert (batch["object"], batch["status"], batch["metadata"]) == ("batch", "validating", {"why": "test"})
    assert batch["expires_at"] - batch["created_at"] == 24 * 3600
    taken = [await worker.answer([name]) for name in ("x", "y", "z")]
    assert {one.job.priority for one in taken} == {jobs_pb2.PRIORITY_BATCH}
    ended = await until(gateway, batch)
    assert ended["status"] == "completed"
    assert ended["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
    assert ended["usage"]["total_tokens"] == 30
    assert ended["model"] == "scripted"
    assert ended["error_file_id"] is None
    assert ended["errors"] is None
    assert ended["in_progress_at"] <= ended["finalizing_at"] <= ended["completed_at"]
    found = await results(gateway, ended["output_file_id"])
    asked = {one.body["messages"][0]["content"]: said for one, said in zip(taken, "xyz", strict=True)}
    assert {name: _text(one) for name, one in found.items()} == asked
    for one in found.values():
        assert one["id"].startswith("batch_req_")
        assert one["error"] is None
        assert one["response"]["request_id"].startswith("req_")
        assert one["response"]["body"]["id"].startswith("chatcmpl-")
    file = await gateway.json("GET", f"/v1/files/{ended['output_file_id']}")
    assert (file["purpose"], file["filename"]) == ("batch_output", f"{batch['id']}_output.jsonl")


async def test_what_is_refused_stands_in_the_error_file(gateway: Gateway, worker: ScriptedWorker) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    requests = [
        line("good"),
        line("no model", {"model": "nobody", "messages": messages}),
        line("streamed", {"model": "scripted", "messages": messages, "stream": True}),
        line("wrong", {"model": "scripted", "messages": messages, "temperature": 9}),
        line("broken"),
    ]
    batch = await new_batch(gateway, lines(requests))
    for _ in range(2):
        taken = await worker.take()
        if taken.body["messages"][0]["content"] == "broken":
            await taken.fail(InvalidArgumentError("Too long.", code="context_length_exceeded"))
        else:
            await taken.answer_whole("fine")
    ended = await until(gateway, batch)
    assert ended["status"] == "completed"
    assert ended["request_counts"] == {"total": 5, "completed": 1, "failed": 4}
    assert list(await results(gateway, ended["output_file_id"])) == ["good"]
    told = {
        name: (one["response"]["status_code"], one["response"]["body"]["error"]["code"])
        for name, one in (await results(gateway, ended["error_file_id"])).items()
    }
    assert told == {
        "no model": (404, "model_not_found"),
        "streamed": (400, "unsupported_parameter"),
        "wrong": (400, "decimal_above_max_value"),
        "broken": (400, "context_length_exceeded"),
    }


async def test_an_input_that_is_no_good_fails_with_line_numbers(gateway: Gateway) -> None:
    bad = [
        line("a"),
        line("a"),
        line("b", method="GET"),
        line("c", url="/v1/embeddings"),
        {**line("d"), "body": []},
        {"custom_id": "e", "method": "POST", "url": "/v1/chat/completions"},
    ]
    batch = await new_batch(gateway, b"\n" + lines(bad) + b"{nonsense")
    ended = await until(gateway, batch)
    assert ended["status"] == "failed"
    assert ended["failed_at"] is not None
    assert ended["errors"]["object"] == "list"
    assert [(one["line"], one["code"], one["param"]) for one in ended["errors"]["data"]] == [
        (3, "duplicate_custom_id", "custom_id"),
        (4, "invalid_method", "method"),
        (5, "mismatched_url", "url"),
        (6, "invalid_type", "body"),
        (7, "missing_required_parameter", "body"),
        (8, "invalid_json_line", None),
    ]
    assert ended["output_file_id"] is None


async def test_an_empty_input_fails(gateway: Gateway) -> None:
    ended = await until(gateway, await new_batch(gateway, b"\n \n"))
    assert [one["code"] for one in ended["errors"]["data"]] == ["empty_file"]


async def test_a_cancelled_batch_keeps_what_there_is(gateway: Gateway, worker: ScriptedWorker) -> None:
    batch = await new_batch(gateway, lines(map(line, "abc")))
    done = await worker.answer(["said"])
    running = await worker.take()
    await _counted(gateway, batch, 1)
    cancelling = await gateway.json("POST", f"/v1/batches/{batch['id']}/cancel")
    assert cancelling["status"] == "cancelling"
    await running.until_cancelled()
    ended = await until(gateway, batch)
    assert ended["status"] == "cancelled"
    assert ended["request_counts"] == {"total": 3, "completed": 1, "failed": 2}
    name = done.body["messages"][0]["content"]
    assert list(await results(gateway, ended["output_file_id"])) == [name]
    left = await results(gateway, ended["error_file_id"])
    assert {one["error"]["code"] for one in left.values()} == {"batch_cancelled"}
    assert left.keys() == set("abc") - {name}
    status, error = await refusal(gateway.client, "POST", f"/v1/batches/{batch['id']}/cancel")
    assert (status, error["message"]) == (400, "A batch with status 'cancelled' cannot become 'cancelling'.")


async def test_the_jobs_of_a_cancelled_batch_end_though_its_gateway_died_before_it_cancelled_them(
    another: Gateway, storage_server: StorageServer, redis_server: RedisServer, worker: ScriptedWorker
) -> None:
    async with running_gateway(storage_server, redis_server) as first:
        batch = await new_batch(first, lines(map(line, "a")))
        running = await worker.take()
    await another.json("POST", f"/v1/batches/{batch['id']}/cancel")
    await running.until_cancelled()
    assert (await until(another, batch))["status"] == "cancelled"


async def test_a_batch_whose_time_is_up_expires(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.routes.batches.LIFETIME", timedelta(seconds=0))
    ended = await until(gateway, await new_batch(gateway, lines(map(line, "ab"))))
    assert ended["status"] == "expired"
    left = await results(gateway, ended["error_file_id"])
    assert {one["error"]["code"] for one in left.values()} == {"batch_expired"}
    assert left.keys() == {"a", "b"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"endpoint": "/v1/moderations"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"input_file_id": None}, "input_file_id"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
    ],
)
async def test_what_cannot_be_asked_for(gateway: Gateway, fields: dict[str, Any], param: str) -> None:
    file = await upload(gateway.client, lines([line("a")]), purpose="batch")
    asked = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    status, error = await refusal(gateway.client, "POST", "/v1/batches", json=asked | fields)
    assert (status, error["param"]) == (400, param)
    assert (await gateway.json("GET", "/v1/batches"))["data"] == []


async def test_the_input_must_be_a_file_for_batches(gateway: Gateway) -> None:
    asked = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
    file = await upload(gateway.client, lines([line("a")]))
    status, error = await refusal(gateway.client, "POST", "/v1/batches", json={**asked, "input_file_id": file["id"]})
    assert (status, error["code"]) == (400, "invalid_file_purpose")
    status, error = await refusal(gateway.client, "POST", "/v1/batches", json={**asked, "input_file_id": "file-none"})
    assert (status, error["param"]) == (404, "input_file_id")


async def test_lists_page(gateway: Gateway) -> None:
    made = [(await new_batch(gateway, b"no"))["id"] for _ in range(3)]
    first = await gateway.json("GET", "/v1/batches?limit=2")
    assert [one["id"] for one in first["data"]] == made[:0:-1]
    assert first["has_more"] is True
    rest = await gateway.json("GET", f"/v1/batches?after={first['last_id']}")
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (made[:1], False)
    status, _ = await refusal(gateway.client, "GET", "/v1/batches/batch_none")
    assert status == 404


@pytest.fixture
async def another(storage_server: StorageServer, redis_server: RedisServer, redis: Redis) -> AsyncIterator[Gateway]:
    write_model(storage_server.janroot)
    async with running_gateway(storage_server, redis_server) as second:
        yield second


async def test_a_gateway_that_stops_hands_its_batch_over(
    another: Gateway, storage_server: StorageServer, redis_server: RedisServer, worker: ScriptedWorker
) -> None:
    async with running_gateway(storage_server, redis_server) as first:
        batch = await new_batch(first, lines(map(line, "abc")))
        await worker.answer(["first"])
        in_hand = await worker.take()
        await _counted(first, batch, 1)
    await in_hand.answer_whole("second")
    await worker.answer(["third"])
    ended = await until(another, batch)
    assert ended["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
    found = await results(another, ended["output_file_id"])
    assert sorted(map(_text, found.values())) == ["first", "second", "third"]


async def test_two_gateways_at_once_give_each_request_one_result(
    another: Gateway, storage_server: StorageServer, redis_server: RedisServer, redis: Redis, worker: ScriptedWorker
) -> None:
    """A gateway that was frozen goes on as if nothing had been, beside the one that took its batch over."""
    async with running_gateway(storage_server, redis_server) as first:
        batch = await new_batch(first, lines(map(line, "ab")))
        await worker.answer(["one"])
        await _counted(first, batch, 1)
        await redis.flushall()
        for _ in range(2):
            for each in (first, another):
                await each.app[BATCHES]._reconcile()
        await worker.answer(["two"])
        ended = await until(another, batch)
    assert ended["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
    assert sorted(map(_text, (await results(another, ended["output_file_id"])).values())) == ["one", "two"]


async def test_a_mistake_of_ours_is_the_answer_to_one_request(
    gateway: Gateway, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def mistaken(storage: Any, images: Any, endpoint: str, body: Any, tenant: str) -> jobs_pb2.Job:
        if body["messages"][0]["content"] == "b":
            raise KeyError("a detail of ours")
        return await job_of(storage, images, endpoint, body, tenant)

    monkeypatch.setattr("gateway.batches.execution.job_of", mistaken)
    with capture_logs() as logged:
        batch = await new_batch(gateway, lines(map(line, "abc")))
        for word in ("x", "y"):
            await worker.answer([word])
        ended = await until(gateway, batch)
    assert [one["line"] for one in logged if one["event"] == "request of a batch failed"] == [2]
    assert ended["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    failed = (await results(gateway, ended["error_file_id"]))["b"]["response"]
    assert (failed["status_code"], failed["body"]["error"]["type"]) == (500, "server_error")
    assert "detail" not in failed["body"]["error"]["message"]


async def test_a_batch_that_waits_says_for_what(
    gateway: Gateway, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, failures = BatchClient.append, ["The disk is being looked at.", "It still is."]

    async def failing(self: BatchClient, batch_id: str, results: Any) -> None:
        if failures:
            raise UnavailableError(failures.pop(0))
        await append(self, batch_id, results)

    monkeypatch.setattr(BatchClient, "append", failing)
    with capture_logs() as logged:
        batch = await new_batch(gateway, lines(map(line, "a")))
        await worker.answer(["x"])
        assert (await until(gateway, batch))["status"] == "completed"
    waits = [one["error"] for one in logged if one["event"] == "batch waits"]
    assert waits == ["The disk is being looked at.", "It still is."]


async def test_the_input_may_go_away(gateway: Gateway, worker: ScriptedWorker) -> None:
    batch = await new_batch(gateway, lines(map(line, "ab")))
    await worker.take()
    await gateway.json("DELETE", f"/v1/files/{batch['input_file_id']}")
    asked = {"input_file_id": batch["input_file_id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    status, _ = await refusal(gateway.client, "POST", "/v1/batches", json=asked)
    assert status == 404
    await gateway.json("POST", f"/v1/batches/{batch['id']}/cancel")
    assert (await until(gateway, batch))["status"] == "cancelled"


async def _counted(gateway: Gateway, batch: dict[str, Any], completed: int) -> None:
    async with asyncio.timeout(50):
        while (await gateway.json("GET", f"/v1/batches/{batch['id']}"))["request_counts"]["completed"] < completed:
            pass


def _text(result: dict[str, Any]) -> str:
    text: str = result["response"]["body"]["choices"][0]["message"]["content"]
    return text


@pytest.mark.parametrize(
    ("endpoint", "body", "kind"),
    [
        ("/v1/completions", {"model": "scripted", "prompt": "Hi"}, jobs_pb2.ENDPOINT_COMPLETIONS),
        ("/v1/embeddings", {"model": "scripted", "input": "Hi"}, jobs_pb2.ENDPOINT_EMBEDDINGS),
    ],
)
async def test_other_endpoints(
    gateway: Gateway, worker: ScriptedWorker, endpoint: str, body: dict[str, Any], kind: int
) -> None:
    batch = await new_batch(gateway, lines([line("a", body, url=endpoint)]), endpoint=endpoint)
    taken = await worker.answer(["said"])
    assert (taken.job.endpoint, taken.job.id) == (kind, f"{batch['id']}.1.1")
    ended = await until(gateway, batch)
    assert (ended["status"], ended["endpoint"]) == ("completed", endpoint)
    assert list(await results(gateway, ended["output_file_id"])) == ["a"]


async def test_the_owner_is_charged(gateway: Gateway, worker: ScriptedWorker) -> None:
    file = await upload(gateway.client, lines([line("a")]), purpose="batch")
    asked = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    headers = {"Authorization": "Bearer ann"}
    async with gateway.client.post("/v1/batches", json=asked, headers=headers) as answer:
        batch = await answer.json()
    taken = await worker.answer()
    assert taken.job.tenant.startswith("key:")
    assert (await until(gateway, batch))["status"] == "completed"


async def test_the_files_of_results_may_expire(gateway: Gateway, worker: ScriptedWorker) -> None:
    expiry = {"anchor": "created_at", "seconds": 3600}
    batch = await new_batch(gateway, lines([line("a")]), output_expires_after=expiry)
    await worker.answer()
    file = await gateway.json("GET", f"/v1/files/{(await until(gateway, batch))['output_file_id']}")
    assert file["expires_at"] - file["created_at"] == 3600
