from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.beta import Assistant

from tests.gateway.client import Api, ask, refusal

FUNCTION = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


async def make(api: Api, **fields: Any) -> dict[str, Any]:
    return await ask(api, "POST", "/v1/assistants", {"model": "m"} | fields)


async def test_an_assistant_lives_and_dies(api: Api) -> None:
    made = await make(api, name="Math Tutor", tools=[FUNCTION], metadata={"k": "v"}, temperature=0.5)
    Assistant.model_validate(made, strict=True)
    assert made["tools"] == [FUNCTION]
    path = f"/v1/assistants/{made['id']}"
    assert await ask(api, "GET", path) == made
    changed = await ask(api, "POST", path, {"name": "Tutor"})
    assert changed == made | {"name": "Tutor"}
    deleted = {"id": made["id"], "object": "assistant.deleted", "deleted": True, "state": "to_download"}
    assert await ask(api, "DELETE", path) == deleted
    for method in ("GET", "DELETE"):
        status, error = await refusal(api, method, path)
        assert (status, error["message"]) == (404, f"No assistant found with id '{made['id']}'.")


async def test_jans_spelling_makes_the_same_assistant(api: Api) -> None:
    tools = [{"type": "retrieval", "enabled": False}]
    made = await make(api, model=["zephyr", "gpt-4"], tools=tools, file_ids=["file-1"], avatar="🤖")
    assert (made["model"], made["models"], made["state"]) == ("zephyr", ["zephyr", "gpt-4"], "ready")
    assert (made["tools"], made["file_ids"], made["avatar"]) == (tools, ["file-1"], "🤖")


async def test_null_in_tool_resources_means_absent(api: Api) -> None:
    sent = {"code_interpreter": None, "file_search": {"vector_store_ids": None, "vector_stores": None, "x": 1}}
    made = await make(api, tool_resources=sent)
    assert made["tool_resources"] == {"file_search": {"x": 1}}


async def test_null_in_a_tool_means_absent_but_not_in_its_functions_schema(api: Api) -> None:
    schema = {"properties": {"x": {"default": None, "enum": [None, 1]}}}
    function = {"name": "f", "description": None, "parameters": schema}
    made = await make(api, tools=[{"type": "function", "file_search": None, "function": function}])
    assert made["tools"] == [{"type": "function", "function": {"name": "f", "parameters": schema}}]


async def test_null_in_a_format_means_absent_but_not_in_its_schema(api: Api) -> None:
    shape = {"name": "f", "schema": {"type": "object", "properties": {"x": {"enum": [None, 1], "default": None}}}}
    sent = {"type": "json_schema", "json_schema": {**shape, "description": None, "strict": None}}
    made = await make(api, response_format=sent)
    assert made["response_format"] == {"type": "json_schema", "json_schema": shape}


async def test_models_and_thread_location_change_and_are_kept(api: Api) -> None:
    made = await make(api, model="zephyr", models=["gpt-4", "zephyr"], thread_location="ROOT/a")
    assert (made["model"], made["models"], made["thread_location"]) == ("zephyr", ["zephyr", "gpt-4"], "ROOT/a")
    path = f"/v1/assistants/{made['id']}"
    assert await ask(api, "POST", path, {"name": "N"}) == made | {"name": "N"}
    changed = await ask(api, "POST", path, {"models": "phi", "thread_location": None})
    assert (changed["model"], changed["models"], changed["thread_location"]) == ("phi", ["phi"], "ROOT/threads")
    assert await ask(api, "GET", path) == changed


async def test_jans_specification_deletes_in_the_singular(api: Api) -> None:
    made = await make(api)
    assert (await ask(api, "DELETE", f"/v1/assistant/{made['id']}"))["deleted"] is True
    status, _ = await refusal(api, "GET", f"/v1/assistants/{made['id']}")
    assert status == 404


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_null_clears_what_is_named_and_nothing_else(api: Api, method: str) -> None:
    made = await make(api, name="N", description="D", instructions="I", temperature=1, metadata={"a": "1"})
    path = f"/v1/assistants/{made['id']}"
    changed = await ask(api, method, path, {"description": None, "temperature": None, "metadata": None, "model": None})
    assert changed == made | {"description": None, "temperature": None, "metadata": {}}
    assert await ask(api, "GET", path) == changed


async def test_metadata_is_replaced_whole(api: Api) -> None:
    made = await make(api, metadata={"a": "1", "b": "2"})
    changed = await ask(api, "POST", f"/v1/assistants/{made['id']}", {"metadata": {"c": "3"}})
    assert changed["metadata"] == {"c": "3"}


async def test_the_default_assistant_is_there(api: Api) -> None:
    jan = await ask(api, "GET", "/v1/assistants/jan")
    Assistant.model_validate(jan, strict=True)
    assert (jan["name"], jan["model"]) == ("Jan", "*")


async def test_pages_follow_each_other(api: Api) -> None:
    ids = ["jan"] + [(await make(api))["id"] for _ in range(4)]
    newest = await ask(api, "GET", "/v1/assistants", limit="2")
    assert [item["id"] for item in newest["data"]] == [ids[4], ids[3]]
    assert (newest["first_id"], newest["last_id"], newest["has_more"]) == (ids[4], ids[3], True)
    rest = await ask(api, "GET", "/v1/assistants", after=ids[3], limit="3")
    assert [item["id"] for item in rest["data"]] == [ids[2], ids[1], "jan"]
    assert rest["has_more"] is False
    oldest = await ask(api, "GET", "/v1/assistants", order="asc", limit="1")
    assert oldest["first_id"] == "jan"
    before = await ask(api, "GET", "/v1/assistants", order="asc", before=ids[2])
    assert [item["id"] for item in before["data"]] == ids[:2]


async def test_a_bad_page_is_refused_by_name(api: Api) -> None:
    bad = [("limit", "0"), ("limit", "101"), ("limit", "ten"), ("order", "up"), ("after", "asst_nobody")]
    for param, value in bad:
        status, error = await refusal(api, "GET", "/v1/assistants", params={param: value})
        assert (status, error["param"]) == (400, param)


async def test_an_unknown_assistant_is_not_found(api: Api) -> None:
    for method in ("GET", "POST", "PATCH", "DELETE"):
        status, error = await refusal(api, method, "/v1/assistants/asst_nobody")
        assert (status, error["message"]) == (404, "No assistant found with id 'asst_nobody'.")


async def test_a_refusal_names_the_field(api: Api) -> None:
    status, error = await refusal(api, "POST", "/v1/assistants", json={"model": "m", "name": "n" * 257})
    assert (status, error["param"], error["code"]) == (400, "name", "string_above_max_length")


async def test_what_was_refused_left_nothing_behind(api: Api) -> None:
    before = await ask(api, "GET", "/v1/assistants")
    await refusal(api, "POST", "/v1/assistants", data=json.dumps({"model": "m", "top_p": 7}))
    await refusal(api, "POST", "/v1/assistants", json={"model": "m", "top_p": 7})
    assert await ask(api, "GET", "/v1/assistants") == before
