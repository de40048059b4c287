"""Changing and deleting models over HTTP, with real storage and a real engine host."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from openai.types import ModelDeleted
from yarl import URL

from tests.fixtures.engine_host import EngineHost
from tests.fixtures.gateway import MODEL_ID, Gateway, write_model
from tests.fixtures.storage import StorageServer
from tests.gateway.client import Api, ask, refusal

PATH = f"/v1/models/{MODEL_ID}"


@pytest.fixture
async def host(engine_host: EngineHost, gateway: Gateway) -> EngineHost:
    """The engine host, reached: a channel to this address may still rest from an earlier test."""
    async with gateway.client.get("/v1/devices") as answer:
        assert answer.status == 200, await answer.text()
    return engine_host


def described(storage_server: StorageServer) -> dict[str, Any]:
    file: dict[str, Any] = json.loads((storage_server.janroot / "models" / MODEL_ID / "model.json").read_text())
    return file


def everything(folder: Path) -> list[Path]:
    """All that is in it, less the index of the search, whose journal comes and goes."""
    return sorted(path for path in folder.rglob("*") if "index" not in path.parts)


async def test_a_running_model_is_unloaded_and_deleted_and_comes_back(api: Api, host: EngineHost) -> None:
    await ask(api, "PUT", f"{PATH}/start")
    deleted = await ask(api, "DELETE", PATH)
    ModelDeleted.model_validate(deleted, strict=True)
    assert deleted.items() >= {"id": MODEL_ID, "object": "model", "deleted": True}.items()
    [model] = host.models.all()
    assert (model.id, str(model.state)) == (MODEL_ID, "ready")
    assert (await refusal(api, "DELETE", PATH))[1]["code"] == "model_not_found"
    [entry] = (await ask(api, "GET", "/v1/trash"))["data"]
    assert (entry["id"], entry["kind"]) == (deleted["trash_id"], "model")
    await ask(api, "POST", f"/v1/trash/{entry['id']}/restore")
    assert (await ask(api, "GET", PATH))["id"] == MODEL_ID


async def test_answers_being_written_are_whole_before_the_model_goes(api: Api, host: EngineHost) -> None:
    await ask(api, "PUT", f"{PATH}/start")
    [model] = host.models.all()
    assert model.spec is not None
    async with host.models.use(model.spec):
        deleting = asyncio.create_task(ask(api, "DELETE", PATH))
        while model.change is None:
            await api.get("/v1/models")
        assert (await refusal(api, "GET", PATH))[0] == 404  # new requests are refused already
        assert not deleting.done()
    await deleting
    assert str(model.state) == "ready"


async def test_a_model_is_deleted_while_no_engine_host_answers(api: Api) -> None:
    assert (await ask(api, "DELETE", PATH))["deleted"]


@pytest.mark.parametrize("path", ["vendor/name", "vendor%2Fname"])
async def test_nested_ids_are_deleted_plain_and_encoded(api: Api, storage_server: StorageServer, path: str) -> None:
    write_model(storage_server.janroot, "vendor/name")
    assert (await ask(api, "DELETE", URL(f"/v1/models/{path}", encoded=True)))["id"] == "vendor/name"


async def test_the_base_of_an_adapter_is_refused(api: Api, storage_server: StorageServer, host: EngineHost) -> None:
    await ask(api, "PUT", f"{PATH}/start")
    write_model(storage_server.janroot, "lora", settings={"base_model": MODEL_ID})
    status, error = await refusal(api, "DELETE", PATH)
    assert (status, error["code"], "lora" in error["message"]) == (409, "model_in_use", True)
    assert (await ask(api, "GET", PATH))["state"] == "running"


@pytest.mark.parametrize("path", ["nobody", "..%2F..%2Fetc", "%00", "a//b", "x" * 4000, "con", ".server"])
async def test_there_is_nothing_else_to_delete_or_change(
    api: Api, storage_server: StorageServer, tmp_path: Path, path: str
) -> None:
    before = await asyncio.to_thread(everything, tmp_path)
    for method in ("DELETE", "PATCH"):
        status, error = await refusal(api, method, URL(f"/v1/models/{path}", encoded=True), json={"name": "New"})
        assert (status, error["code"]) == (404, "model_not_found")
    assert await asyncio.to_thread(everything, tmp_path) == before


async def test_a_change_is_written_and_unknown_keys_stay(api: Api, storage_server: StorageServer) -> None:
    body = {"name": "New", "settings": {"ctx_len": 4096, "own": "x"}, "parameters": {"temperature": None, "top_p": 0.5}}
    model = await ask(api, "PATCH", PATH, body)
    assert (model["name"], model["settings"]) == ("New", {"ctx_len": 4096, "own": "x"})
    assert model["parameters"] == {"top_p": 0.5}
    file = described(storage_server)
    assert file["sources"] == [{"url": "http://127.0.0.1:9/v1"}]
    assert file["settings"] == {"ctx_len": 4096, "own": "x"}
    flat = await ask(api, "PATCH", PATH, {"n_parallel": 2, "ctx_len": None, "max_tokens": 9})
    assert (flat["settings"], flat["parameters"]) == ({"n_parallel": 2, "own": "x"}, {"top_p": 0.5, "max_tokens": 9})


async def test_only_the_state_that_was_seen_is_changed(api: Api) -> None:
    async with api.get(PATH) as answer:
        seen = answer.headers["ETag"]
    async with api.patch(PATH, json={"name": "New"}, headers={"If-Match": seen}) as answer:
        assert answer.status == 200
        now = answer.headers["ETag"]
    for method in ("PATCH", "DELETE"):
        async with api.request(method, PATH, json={"name": "Newer"}, headers={"If-Match": seen}) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (412, "precondition_failed")
    assert (await ask(api, "GET", PATH))["name"] == "New"
    async with api.delete(PATH, headers={"If-Match": now}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": "a\0b"},
        {"name": 7},
        {"settings": {"ctx_len": 1}},
        {"settings": {"ctx_len": "long"}},
        {"settings": {"llama_model_path": "../../etc/passwd"}},
        {"settings": {"model_path": "/etc/passwd"}},
        {"settings": {"mmproj": "..\\x"}},
        {"settings": {"tool_call_parser": "--trust-remote-code"}},
        {"settings": {"quantization": "a\nb"}},
        {"settings": []},
        {"ngl": -1},
        {"temperature": 3},
        {"metadata": {"x": "y" * 2_000_000}},
    ],
)
async def test_a_change_that_cannot_be_changes_nothing(
    api: Api, storage_server: StorageServer, body: dict[str, Any]
) -> None:
    before = described(storage_server)
    status, error = await refusal(api, "PATCH", PATH, json=body)
    assert (status, bool(error["param"])) == (400, True)
    assert described(storage_server) == before


async def test_changed_settings_reload_at_the_next_job_and_parameters_do_not(api: Api, host: EngineHost) -> None:
    await ask(api, "PUT", f"{PATH}/start")
    [model] = host.models.all()
    loaded = model.spec
    await ask(api, "PATCH", PATH, {"parameters": {"temperature": 0.1}})
    await ask(api, "PUT", f"{PATH}/start")
    assert model.spec is loaded
    await ask(api, "PATCH", PATH, {"settings": {"n_parallel": 3}})
    assert model.spec is loaded
    await ask(api, "PUT", f"{PATH}/start")
    assert model.spec is not None
    assert json.loads(model.spec.settings_json) == {"n_parallel": 3}


@pytest.mark.parametrize("field", ["engine", "sources", "format", "id", "object", "what_nobody_knows"])
async def test_what_is_not_changed_here_is_refused_by_name(api: Api, storage_server: StorageServer, field: str) -> None:
    before = described(storage_server)
    status, error = await refusal(api, "PATCH", PATH, json={"name": "Another", field: []})
    assert (status, error["param"], error["code"]) == (400, field, "unknown_parameter")
    assert described(storage_server) == before


async def test_settings_and_parameters_beside_the_maps_are_known(api: Api, storage_server: StorageServer) -> None:
    await ask(api, "PATCH", PATH, {"ctx_len": 256, "temperature": 0.5, "settings": {"ngl": 3}})
    file = described(storage_server)
    assert (file["settings"]["ctx_len"], file["settings"]["ngl"], file["parameters"]["temperature"]) == (256, 3, 0.5)
