"""Attachments for file_search: the thread gets a vector store with them, whichever way the message comes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.client import Api, ask, refusal, upload

SEARCH = [{"type": "file_search"}]


def message(*file_ids: str, tools: Any = SEARCH) -> dict[str, Any]:
    attachments = [{"file_id": file_id, "tools": tools} for file_id in file_ids]
    return {"role": "user", "content": "Read this.", "attachments": attachments}


async def stores_of(api: Api, thread_id: str) -> list[str]:
    thread = await ask(api, "GET", f"/v1/threads/{thread_id}")
    resources = thread["tool_resources"] or {}
    return list(resources.get("file_search", {}).get("vector_store_ids", []))


async def files_in(api: Api, store_id: str) -> set[str]:
    return {file["id"] for file in (await ask(api, "GET", f"/v1/vector_stores/{store_id}/files"))["data"]}


async def test_a_message_makes_the_store_and_the_next_one_adds(api: Api, thread: dict[str, Any]) -> None:
    first, second = [(await upload(api))["id"] for _ in range(2)]
    await ask(api, "POST", f"/v1/threads/{thread['id']}/messages", message(first))
    [store_id] = await stores_of(api, thread["id"])
    store = await ask(api, "GET", f"/v1/vector_stores/{store_id}")
    assert store["expires_after"] == {"anchor": "last_active_at", "days": 7}
    await ask(api, "POST", f"/v1/threads/{thread['id']}/messages", message(second, first))
    assert await stores_of(api, thread["id"]) == [store_id]
    assert await files_in(api, store_id) == {first, second}


async def test_a_new_thread_answers_its_store(api: Api) -> None:
    file_id = (await upload(api))["id"]
    resources = {"code_interpreter": {"file_ids": [file_id]}}
    body = {"messages": [message(file_id)], "tool_resources": resources}
    made = await ask(api, "POST", "/v1/threads", body)
    [store_id] = made["tool_resources"]["file_search"]["vector_store_ids"]
    assert made["tool_resources"]["code_interpreter"] == {"file_ids": [file_id]}
    assert await files_in(api, store_id) == {file_id}


@pytest.mark.parametrize("tools", [[], [{"type": "code_interpreter"}]])
async def test_other_attachments_make_none(api: Api, thread: dict[str, Any], tools: Any) -> None:
    file_id = (await upload(api))["id"]
    await ask(api, "POST", f"/v1/threads/{thread['id']}/messages", message(file_id, tools=tools))
    assert await stores_of(api, thread["id"]) == []
    assert (await ask(api, "GET", "/v1/vector_stores"))["data"] == []


async def test_a_refused_message_makes_none(api: Api, thread: dict[str, Any]) -> None:
    status, _ = await refusal(api, "POST", f"/v1/threads/{thread['id']}/messages", json=message("file-none"))
    assert status == 400
    assert (await ask(api, "GET", "/v1/vector_stores"))["data"] == []


async def test_a_store_that_is_gone_is_replaced(api: Api, thread: dict[str, Any]) -> None:
    file_id = (await upload(api))["id"]
    path = f"/v1/threads/{thread['id']}"
    gone = (await ask(api, "POST", "/v1/vector_stores", {}))["id"]
    await ask(api, "POST", path, {"tool_resources": {"file_search": {"vector_store_ids": [gone]}}})
    await ask(api, "DELETE", f"/v1/vector_stores/{gone}")
    await ask(api, "POST", f"{path}/messages", message(file_id))
    [store_id] = await stores_of(api, thread["id"])
    assert await files_in(api, store_id) == {file_id}


@pytest.mark.parametrize("way", ["additional", "together"])
async def test_a_run_brings_attachments(api: Api, thread: dict[str, Any], way: str) -> None:
    file_id = (await upload(api))["id"]
    if way == "additional":
        body: dict[str, Any] = {"assistant_id": "jan", "additional_messages": [message(file_id)]}
        await ask(api, "POST", f"/v1/threads/{thread['id']}/runs", body)
        thread_id = thread["id"]
    else:
        together = {"assistant_id": "jan", "thread": {"messages": [message(file_id)]}}
        thread_id = (await ask(api, "POST", "/v1/threads/runs", together))["thread_id"]
    [store_id] = await stores_of(api, thread_id)
    assert await files_in(api, store_id) == {file_id}
