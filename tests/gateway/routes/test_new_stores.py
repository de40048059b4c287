"""`tool_resources.file_search.vector_stores`: a vector store is made with an assistant or a thread, or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError

from gateway.keys import STORAGE
from jan.errors import NotFoundError, UnavailableError
from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.client import Api, ask, refusal, upload
from tests.gateway.routes.test_runs import until_ended

PLACE = "tool_resources.file_search"
SEVEN_DAYS = {"anchor": "last_active_at", "days": 7}
STATIC = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 20}}
# Each request with a store, and what it calls the resources.
WAYS = {
    "assistant": ("/v1/assistants", "", {"model": MODEL_ID}),
    "thread": ("/v1/threads", "", {}),
    "run": ("/v1/threads/runs", "", {"assistant_id": "jan"}),
    "run's thread": ("/v1/threads/runs", "thread.", {"assistant_id": "jan"}),
}
OLD = pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning")  # Assistants is what we are a home for
ALL = pytest.mark.parametrize("way", WAYS)


def request_of(way: str, search: Any) -> tuple[str, str, dict[str, Any]]:
    path, before, body = WAYS[way]
    resources = {"tool_resources": {"file_search": search}}
    return path, before, body | ({"thread": resources} if before else resources)


async def stores(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await ask(api, "GET", "/v1/vector_stores"))["data"]
    return found


@OLD
async def test_openais_quickstart(openai_client: AsyncOpenAI, gateway: Gateway, worker: ScriptedWorker) -> None:
    uploaded = await openai_client.files.create(file=("t.txt", b"Plant tomatoes in May"), purpose="assistants")
    wanted: Any = {"file_ids": [uploaded.id], "chunking_strategy": STATIC, "metadata": {"of": "Ann"}}
    assistant = await openai_client.beta.assistants.create(
        model=MODEL_ID,
        tools=[{"type": "file_search"}],
        tool_resources={"file_search": {"vector_stores": [wanted]}},
    )
    assert assistant.tool_resources is not None
    assert assistant.tool_resources.file_search is not None
    [store_id] = assistant.tool_resources.file_search.vector_store_ids or []
    assert assistant.tool_resources.to_dict() == {"file_search": {"vector_store_ids": [store_id]}}
    store = await openai_client.vector_stores.retrieve(store_id)
    assert (store.expires_after, store.metadata) == (None, {"of": "Ann"})
    [file] = (await openai_client.vector_stores.files.list(store_id)).data
    assert file.chunking_strategy.to_dict() == STATIC  # type: ignore[union-attr]

    run = await openai_client.beta.threads.create_and_run(
        assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "When do I plant tomatoes?"}]}
    )
    job = await worker.take()
    assert "Plant tomatoes in May" in job.body["messages"][0]["content"]
    await job.begin()
    await job.finish()
    await until_ended(gateway, run.to_dict())


@pytest.mark.parametrize("way", ["thread", "run", "run's thread"])
async def test_a_threads_store_expires(api: Api, way: str) -> None:
    file_id = (await upload(api))["id"]
    path, _, body = request_of(way, {"vector_stores": [{"file_ids": [file_id, file_id]}]})
    made = await ask(api, "POST", path, body)
    thread = await ask(api, "GET", f"/v1/threads/{made.get('thread_id', made['id'])}")
    [store] = await stores(api)
    assert thread["tool_resources"] == {"file_search": {"vector_store_ids": [store["id"]]}}
    assert (store["expires_after"], store["file_counts"]["total"]) == (SEVEN_DAYS, 1)


async def test_attachments_go_into_the_store_that_was_made(api: Api) -> None:
    first, second = [(await upload(api))["id"] for _ in range(2)]
    attached = [{"file_id": second, "tools": [{"type": "file_search"}]}]
    path, _, body = request_of("thread", {"vector_stores": [{"file_ids": [first]}]})
    await ask(api, "POST", path, body | {"messages": [{"role": "user", "content": "Hi", "attachments": attached}]})
    [store] = await stores(api)
    assert store["file_counts"]["total"] == 2


@ALL
async def test_an_unknown_file_is_named_and_nothing_is_made(api: Api, way: str) -> None:
    file_id = (await upload(api))["id"]
    before = [await ask(api, "GET", path) for path in ("/v1/assistants", "/v1/threads")]
    path, prefix, body = request_of(way, {"vector_stores": [{"file_ids": [file_id, "file-none"]}]})
    status, error = await refusal(api, "POST", path, json=body)
    assert (status, error["param"]) == (400, f"{prefix}{PLACE}.vector_stores[0].file_ids")
    assert "file-none" in error["message"]
    assert await stores(api) == []
    assert before == [await ask(api, "GET", path) for path in ("/v1/assistants", "/v1/threads")]


@ALL
@pytest.mark.parametrize(
    ("search", "place"),
    [
        ({"vector_stores": [{}, {}]}, "vector_stores"),
        ({"vector_stores": [{}], "vector_store_ids": ["vs_1"]}, "vector_stores"),
        ({"vector_stores": [{"file_ids": ["../x"]}]}, "vector_stores[0].file_ids"),
        ({"vector_stores": [{"file_ids": ["f"] * 10_001}]}, "vector_stores[0].file_ids"),
        ({"vector_stores": [{"metadata": {"k": 1}}]}, "vector_stores[0].metadata.k"),
        ({"vector_stores": [{"chunking": {}}]}, "vector_stores[0].chunking"),
        ({"vector_stores": [{"chunking_strategy": {"type": "x"}}]}, "vector_stores[0].chunking_strategy.type"),
    ],
)
async def test_what_is_no_store_is_refused_by_name(api: Api, way: str, search: Any, place: str) -> None:
    path, prefix, body = request_of(way, search)
    status, error = await refusal(api, "POST", path, json=body)
    assert (status, error["param"]) == (400, f"{prefix}{PLACE}.{place}")
    assert await stores(api) == []


async def test_a_refused_thread_takes_its_store_along(api: Api) -> None:
    path, _, body = request_of("thread", {"vector_stores": [{"file_ids": [(await upload(api))["id"]]}]})
    attached = [{"file_id": "file-none", "tools": [{"type": "file_search"}]}]
    refused = body | {"messages": [{"role": "user", "content": "Hi", "attachments": attached}]}
    status, error = await refusal(api, "POST", path, json=refused)
    assert (status, error["param"]) == (400, "messages[0].attachments[0].file_id")
    assert await stores(api) == []


@pytest.mark.parametrize("noun", ["assistants", "threads"])
async def test_only_what_is_new_makes_one(api: Api, noun: str) -> None:
    made = await ask(api, "POST", f"/v1/{noun}", {"model": MODEL_ID})
    body: dict[str, Any] = {"tool_resources": {"file_search": {"vector_stores": [{}]}}}
    status, error = await refusal(api, "POST", f"/v1/{noun}/{made['id']}", json=body)
    assert (status, error["param"]) == (400, f"{PLACE}.vector_stores")


async def test_an_empty_list_asks_for_none(api: Api) -> None:
    path, _, body = request_of("thread", {"vector_stores": []})
    assert (await ask(api, "POST", path, body))["tool_resources"] == {"file_search": {}}
    assert await stores(api) == []


@pytest.mark.parametrize(("error", "left"), [(NotFoundError("gone"), 0), (UnavailableError("away"), 1)])
async def test_a_store_stays_where_its_thread_may_be_there(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, error: Exception, left: int
) -> None:
    async def create_thread(*_: Any) -> None:
        raise error

    monkeypatch.setattr(gateway.app[STORAGE], "create_thread", create_thread)
    path, _, body = request_of("thread", {"vector_stores": [{}]})
    async with gateway.client.post(path, json=body) as response:
        assert response.status in {404, 503}
    assert len(await stores(gateway.client)) == left


@pytest.mark.parametrize(("noun", "making"), [("assistants", "create_assistant"), ("threads", "create_thread")])
async def test_a_client_that_leaves_in_between_has_both_made(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, noun: str, making: str
) -> None:
    storage, begun, made = gateway.app[STORAGE], asyncio.Event(), asyncio.Event()
    make = getattr(storage, making)

    async def slowly(wanted: Any) -> Any:
        begun.set()
        await asyncio.sleep(0.2)  # the gateway notices meanwhile that its client left
        answer = await make(wanted)
        made.set()
        return answer

    monkeypatch.setattr(storage, making, slowly)
    body = {"model": MODEL_ID, "tool_resources": {"file_search": {"vector_stores": [{}]}}}
    asking = asyncio.create_task(ask(gateway.client, "POST", f"/v1/{noun}", body))
    async with asyncio.timeout(10):
        await begun.wait()
        asking.cancel()
        await made.wait()
    [store] = await stores(gateway.client)
    named = [one["tool_resources"] for one in (await ask(gateway.client, "GET", f"/v1/{noun}"))["data"]]
    assert {"file_search": {"vector_store_ids": [store["id"]]}} in named


@OLD
async def test_the_client_is_told_of_the_old_name_of_the_tool(openai_client: AsyncOpenAI) -> None:
    old: Any = {"type": "retrieval"}
    with pytest.raises(BadRequestError, match="file_search") as refused:
        await openai_client.beta.assistants.create(model=MODEL_ID, tools=[old])
    assert refused.value.param == "tools[0].type"
