from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from openai.types.beta import Thread
from yarl import URL

from tests.fixtures.storage import StorageServer
from tests.gateway.client import Api, ask, refusal, upload


async def test_a_thread_lives_and_dies(api: Api) -> None:
    made = await ask(api, "POST", "/v1/threads", {"metadata": {"k": "v"}, "title": "Physics"})
    Thread.model_validate(made, strict=True)
    path = f"/v1/threads/{made['id']}"
    assert await ask(api, "GET", path) == made
    changed = await ask(api, "POST", path, {"title": "Maths"})
    assert changed == made | {"title": "Maths", "updated_at": changed["updated_at"]}
    assert await ask(api, "DELETE", path) == {"id": made["id"], "object": "thread.deleted", "deleted": True}
    for method, below in (("GET", ""), ("DELETE", ""), ("GET", "/messages"), ("GET", "/messages/msg_1")):
        status, error = await refusal(api, method, path + below)
        assert (status, error["message"]) == (404, f"No thread found with id '{made['id']}'.")


async def test_the_body_may_be_empty(api: Api) -> None:
    async with api.post("/v1/threads") as answer:
        thread = await answer.json()
    Thread.model_validate(thread, strict=True)
    assert thread["id"].startswith("jan_")
    assert (thread["metadata"], thread["tool_resources"], thread["title"]) == ({}, None, "")
    assert [assistant["assistant_id"] for assistant in thread["assistants"]] == ["jan"]


async def test_a_thread_begins_with_its_messages(api: Api) -> None:
    made = await ask(
        api,
        "POST",
        "/v1/threads",
        {"messages": [{"role": "user", "content": "One"}, {"role": "assistant", "content": "Two"}]},
    )
    messages = (await ask(api, "GET", f"/v1/threads/{made['id']}/messages", order="asc"))["data"]
    assert [(message["role"], message["content"][0]["text"]["value"]) for message in messages] == [
        ("user", "One"),
        ("assistant", "Two"),
    ]
    assert {message["thread_id"] for message in messages} == {made["id"]}


async def test_a_thread_is_named_after_its_first_assistant(api: Api) -> None:
    assistants = [{"assistant_id": "helper", "model": {"id": "m", "parameters": {"temperature": 0.1}}}]
    made = await ask(api, "POST", "/v1/threads", {"assistants": assistants})
    assert made["id"].startswith("helper_")
    assert made["assistants"] == [
        {
            "assistant_id": "helper",
            "assistant_name": "",
            "instructions": "",
            "model": {"id": "m", "settings": {}, "parameters": {"temperature": 0.1}},
        }
    ]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_null_clears_what_is_named_and_nothing_else(api: Api, method: str) -> None:
    resources = {"code_interpreter": {"file_ids": [(await upload(api))["id"]]}}
    made = await ask(
        api,
        "POST",
        "/v1/threads",
        {"title": "T", "metadata": {"a": "1"}, "tool_resources": resources, "assistants": ["jan"]},
    )
    assert made["tool_resources"] == resources
    path = f"/v1/threads/{made['id']}"
    changed = await ask(api, method, path, {"metadata": None, "tool_resources": None})
    assert changed == made | {"metadata": {}, "tool_resources": None, "updated_at": changed["updated_at"]}
    changed = await ask(api, method, path, {"title": None, "assistants": None})
    assert (changed["title"], changed["assistants"][0]["assistant_id"]) == ("", "jan")


async def test_threads_are_listed_newest_first(api: Api) -> None:
    empty = await ask(api, "GET", "/v1/threads")
    assert empty == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    ids = [(await ask(api, "POST", "/v1/threads", {}))["id"] for _ in range(3)]
    page = await ask(api, "GET", "/v1/threads", limit="2")
    assert [item["id"] for item in page["data"]] == [ids[2], ids[1]]
    assert page["has_more"] is True
    last = await ask(api, "GET", "/v1/threads", limit="2", after=page["last_id"])
    assert [item["id"] for item in last["data"]] == [ids[0]]
    assert last["has_more"] is False


async def test_an_unknown_thread_is_not_found(api: Api) -> None:
    for method in ("GET", "POST", "PATCH", "DELETE"):
        status, error = await refusal(api, method, "/v1/threads/jan_1")
        assert (status, error["message"]) == (404, "No thread found with id 'jan_1'.")


async def test_a_bad_first_message_makes_no_thread(api: Api) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}, {"role": "system", "content": "Hi"}]}
    status, error = await refusal(api, "POST", "/v1/threads", json=body)
    assert (status, error["param"]) == (400, "messages[1].role")
    assert (await ask(api, "GET", "/v1/threads"))["data"] == []


async def test_a_thread_of_desktop_jan_is_answered_in_openais_shape(api: Api, storage_server: StorageServer) -> None:
    folder = storage_server.janroot / "threads" / "jan_1704504633"
    folder.mkdir()
    (folder / "thread.json").write_text(json.dumps(OLD_THREAD))
    thread = await ask(api, "GET", "/v1/threads/jan_1704504633")
    Thread.model_validate(thread, strict=True)
    assert (thread["created_at"], thread["title"]) == (1704504633, "Trip budget")
    assert thread["metadata"] == {"lastMessage": "Around 900 EUR.", "order": "1", "is_favorite": "true"}
    assert thread["assistants"][0]["model"]["settings"] == {"ctx_len": 4096}


OLD_THREAD: dict[str, Any] = {
    "id": "jan_1704504633",
    "object": "thread",
    "title": "Trip budget",
    "assistants": [
        {
            "assistant_id": "jan",
            "assistant_name": "Jan",
            "tools": [{"type": "retrieval", "enabled": False}],
            "model": {"id": "demo-7b-q4", "settings": {"ctx_len": 4096}, "parameters": {}, "engine": "nitro"},
            "instructions": "Answer briefly.",
        }
    ],
    "created": 1704504633123,
    "updated": 1704504711456,
    "metadata": {"lastMessage": "Around 900 EUR.", "order": 1, "is_favorite": True},
}


async def test_threads_are_found_by_what_was_said_in_them(api: Api) -> None:
    sent = {"messages": [{"role": "user", "content": "Where is the needle?"}], "title": "Hay"}
    made = await ask(api, "POST", "/v1/threads", sent)
    async with asyncio.timeout(2):
        while not (found := await ask(api, "GET", "/v1/threads", q="NEEDLE"))["data"]:
            pass
    [thread] = found["data"]
    match = thread.pop("match")
    assert thread == made
    assert match["snippet"] == "Where is the needle?"
    assert (found["first_id"], found["has_more"]) == (made["id"], False)
    assert (await ask(api, "GET", "/v1/threads", q='") OR needle*'))["data"] == []
    assert (await refusal(api, "GET", "/v1/threads?q=" + "x" * 1001))[1]["param"] == "q"
    for hostile in ("%00", "%ed%a0%80", "%22", "%ff"):
        await ask(api, "GET", URL(f"/v1/threads?q={hostile}", encoded=True))
