"""Chats asked for with `store`: kept before their end is told, and there for whoever asked, and nobody else."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from openai import APIError, AsyncOpenAI, BadRequestError, NotFoundError

from gateway.completions import keeper, stored
from gateway.services.completions import CompletionClient
from jan.errors import UnavailableError
from jan.storage.v1 import completions_pb2
from tests.fixtures.gateway import MODEL_ID, Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer, limited_files
from tests.fixtures.worker import ScriptedWorker

CHAT = "/v1/chat/completions"


def sdk(gateway: Gateway, key: str = "ann") -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{gateway.url}v1", api_key=key, max_retries=0)


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL_ID, "messages": [{"role": "user", "content": "Hi"}], "store": True, **fields}


async def stored_id(gateway: Gateway, worker: ScriptedWorker, key: str = "ann", **fields: Any) -> str:
    """The id of a chat that was answered and kept."""
    async with sdk(gateway, key) as client:
        answering = asyncio.create_task(worker.answer())
        answer = await client.chat.completions.create(**chat(**fields))
        await answering
        return str(answer.id)


async def test_a_whole_answer_is_kept_with_what_it_was_asked(gateway: Gateway, worker: ScriptedWorker) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "Ann"},
    ]
    id_ = await stored_id(gateway, worker, messages=messages, metadata={"case": "7"}, temperature=1)
    async with sdk(gateway) as client:
        found = await client.chat.completions.retrieve(id_)
        assert found.choices[0].message.content == "Hello there"
        assert found.to_dict()["metadata"] == {"case": "7"}
        assert found.to_dict()["temperature"] == 1
        assert found.usage is not None
        listed = await client.chat.completions.messages.list(id_)
        assert [(one.id, one.role, one.content) for one in listed.data] == [
            (f"{id_}-0", "system", "Be brief."),
            (f"{id_}-1", "user", "ab"),
        ]
        assert [part.to_dict()["text"] for part in listed.data[1].content_parts or ()] == ["a", "b"]
        page = await client.chat.completions.messages.list(id_, order="desc", limit=1)
        assert [one.id async for one in page] == [f"{id_}-1", f"{id_}-0"]


async def test_a_stream_is_kept_before_its_end_is_told(gateway: Gateway, worker: ScriptedWorker) -> None:
    async with sdk(gateway) as client:
        answering = asyncio.create_task(worker.answer(["a", "b"]))
        stream = await client.chat.completions.create(**chat(stream=True, metadata={"k": "v"}))
        chunks = [chunk async for chunk in stream]
        found = await client.chat.completions.retrieve(chunks[0].id)
        await answering
    assert found.choices[0].message.content == "ab"
    assert found.choices[0].finish_reason == "stop"
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (7, 3)


async def test_a_stream_without_its_reader_is_kept(gateway: Gateway, worker: ScriptedWorker) -> None:
    async with sdk(gateway) as client:
        asking = asyncio.create_task(client.chat.completions.create(**chat(stream=True)))
        job = await worker.take()
        await job.begin()
        await (await asking).close()
        await job.say("alone")
        await job.finish()
        resumed = await gateway.client.get(f"{CHAT}/{job.job.id}?stream=true", headers={"Authorization": "Bearer ann"})
        assert (await resumed.text()).endswith("data: [DONE]\n\n")
        assert (await client.chat.completions.retrieve(job.job.id)).choices[0].message.content == "alone"


async def test_a_stream_whose_gateway_left_is_kept_by_another(
    gateway: Gateway, worker: ScriptedWorker, storage_server: StorageServer, redis_server: RedisServer
) -> None:
    async with running_gateway(storage_server, redis_server) as other, sdk(other) as client:
        stream = asyncio.create_task(client.chat.completions.create(**chat(stream=True)))
        job = await worker.take()
        await job.begin()
        await (await stream).close()
    await job.say("late")
    await job.finish()
    async with sdk(gateway) as client:
        assert (await client.chat.completions.retrieve(job.job.id)).choices[0].message.content == "late"


async def test_an_end_that_cannot_be_kept_is_not_told(gateway: Gateway, worker: ScriptedWorker) -> None:
    async with sdk(gateway) as client:
        asking = asyncio.create_task(client.chat.completions.create(**chat(stream=True)))
        job = await worker.take()
        await job.begin()
        stream = await asking
        with limited_files(10):
            await job.finish()
            with pytest.raises(APIError) as failed:
                [chunk async for chunk in stream]
        assert failed.value.code == "storage_full"
        # What could not be kept then is kept when somebody asks for it.
        assert (await client.chat.completions.retrieve(job.job.id)).choices[0].finish_reason == "stop"


async def test_a_storage_that_is_away_at_the_end_costs_nobody_the_end(
    gateway: Gateway, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, tries = CompletionClient.create, 0

    async def create_at_the_third_try(self: CompletionClient, completion: completions_pb2.Completion) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise UnavailableError("Storage is away.")
        await create(self, completion)

    monkeypatch.setattr(CompletionClient, "create", create_at_the_third_try)
    id_ = None
    async with sdk(gateway) as client:
        answering = asyncio.create_task(worker.answer())
        async for chunk in await client.chat.completions.create(**chat(stream=True)):
            id_ = chunk.id
        await answering
        assert id_ is not None
        assert (await client.chat.completions.retrieve(id_)).choices[0].message.content == "Hello there"
    assert tries == 3


async def test_long_answers_are_kept_one_at_a_time(
    gateway: Gateway, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, under_way, most, done = CompletionClient.create, 0, 0, 0

    async def watched(self: CompletionClient, completion: completions_pb2.Completion) -> None:
        nonlocal under_way, most, done
        under_way += 1
        most = max(most, under_way)
        for _ in range(100):  # long enough for another one to come beside it
            await asyncio.sleep(0)
        await create(self, completion)
        under_way, done = under_way - 1, done + 1

    monkeypatch.setattr(CompletionClient, "create", watched)
    monkeypatch.setattr(keeper, "LONG_BYTES", 1000)

    async def ask(client: AsyncOpenAI) -> None:
        async for _ in await client.chat.completions.create(**chat(stream=True)):
            pass

    async with sdk(gateway) as client:
        asking = [asyncio.create_task(ask(client)) for _ in range(3)]
        jobs = [await worker.take() for _ in asking]
        for job in jobs:
            await job.begin()
            await job.say("x" * 2000)
        await asyncio.gather(*(job.finish() for job in jobs))
        await asyncio.gather(*asking)
    assert (most, done) == (1, 3)


async def test_an_answer_that_broke_off_is_not_kept(gateway: Gateway, worker: ScriptedWorker) -> None:
    async with sdk(gateway) as client:
        asking = asyncio.create_task(client.chat.completions.create(**chat(stream=True)))
        job = await worker.take()
        await job.begin()
        await job.fail(UnavailableError("Gone.", code="worker_lost"))
        with pytest.raises(APIError, match="Gone"):
            [chunk async for chunk in await asking]
        with pytest.raises(NotFoundError):
            await client.chat.completions.retrieve(job.job.id)
        assert (await client.chat.completions.list()).data == []


async def test_a_list_pages_and_is_narrowed(
    gateway: Gateway, worker: ScriptedWorker, storage_server: StorageServer
) -> None:
    write_model(storage_server.janroot, "other")
    ids = [await stored_id(gateway, worker, metadata={"n": str(number), "all": "x"}) for number in range(3)]
    ids.append(await stored_id(gateway, worker, model="other"))
    async with sdk(gateway) as client:
        assert [one.id async for one in await client.chat.completions.list(limit=2)] == ids
        assert [one.id async for one in await client.chat.completions.list(order="desc", limit=3)] == ids[::-1]
        assert [one.id for one in (await client.chat.completions.list(model="other")).data] == ids[3:]
        assert [one.id for one in (await client.chat.completions.list(metadata={"all": "x"})).data] == ids[:3]
        narrowed = await client.chat.completions.list(metadata={"all": "x", "n": "1"})
        assert [one.id for one in narrowed.data] == [ids[1]]
        after = await client.chat.completions.list(after=ids[0], limit=1)
        assert ([one.id for one in after.data], after.has_more) == ([ids[1]], True)
        with pytest.raises(BadRequestError) as refused:
            await client.chat.completions.list(after="chatcmpl-nobody")
        assert refused.value.param == "after"


async def test_metadata_is_replaced_and_a_removal_is_for_good(gateway: Gateway, worker: ScriptedWorker) -> None:
    id_ = await stored_id(gateway, worker, metadata={"a": "1"})
    async with sdk(gateway) as client:
        changed = await client.chat.completions.update(id_, metadata={"b": "2"})
        assert changed.to_dict()["metadata"] == {"b": "2"}
        assert (await client.chat.completions.update(id_, metadata=None)).to_dict()["metadata"] == {}
        with pytest.raises(BadRequestError) as refused:
            await client.chat.completions.update(id_, metadata={"x" * 65: "1"})
        assert (refused.value.param or "").startswith("metadata")
        assert (await client.chat.completions.delete(id_)).deleted
        for call in (client.chat.completions.delete(id_), client.chat.completions.retrieve(id_)):
            with pytest.raises(NotFoundError):
                await call


async def test_a_streamed_chat_is_removed_from_both_places(gateway: Gateway, worker: ScriptedWorker) -> None:
    async with sdk(gateway) as client:
        answering = asyncio.create_task(worker.answer())
        chunks = [chunk async for chunk in await client.chat.completions.create(**chat(stream=True))]
        await answering
        await client.chat.completions.delete(chunks[0].id)
        with pytest.raises(NotFoundError):
            await client.chat.completions.retrieve(chunks[0].id)
        with pytest.raises(NotFoundError):
            await client.chat.completions.delete(chunks[0].id)


async def test_nobody_sees_what_another_stored(gateway: Gateway, worker: ScriptedWorker) -> None:
    id_ = await stored_id(gateway, worker)
    async with sdk(gateway, "bob") as bob:
        assert (await bob.chat.completions.list()).data == []
        for call in (
            bob.chat.completions.retrieve(id_),
            bob.chat.completions.messages.list(id_),
            bob.chat.completions.update(id_, metadata={}),
            bob.chat.completions.delete(id_),
        ):
            with pytest.raises(NotFoundError):
                await call
    async with sdk(gateway) as ann:
        assert (await ann.chat.completions.retrieve(id_)).id == id_


async def test_what_is_too_large_to_keep_is_refused_before_it_is_asked(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "MAX_KEPT_BYTES", 100)
    error = (await gateway.json("POST", CHAT, chat(), status=400))["error"]
    assert (error["param"], error["code"]) == ("store", "too_large_to_store")


async def test_the_file_is_plain(gateway: Gateway, worker: ScriptedWorker, storage_server: StorageServer) -> None:
    id_ = await stored_id(gateway, worker, metadata={"a": "1"})
    text = await asyncio.to_thread((storage_server.janroot / "completions" / f"{id_}.json").read_text)
    file = json.loads(text)
    assert file["id"] == id_
    assert file["metadata"] == {"a": "1"}
    assert file["messages"][0]["content"] == "Hi"
    assert file["completion"]["choices"][0]["message"]["content"] == "Hello there"


async def test_without_store_nothing_is_kept(gateway: Gateway, worker: ScriptedWorker) -> None:
    id_ = await stored_id(gateway, worker, store=False)
    async with sdk(gateway) as client:
        with pytest.raises(NotFoundError):
            await client.chat.completions.retrieve(id_)
