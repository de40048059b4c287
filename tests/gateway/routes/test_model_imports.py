"""Importing models over HTTP, with real storage and a real engine host."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openai.types import Model

from storage_service.store.store import Store
from tests.fixtures.engine_host import EngineHost, running_engine_host
from tests.fixtures.gateway import Gateway, running_gateway
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer, serving_storage
from tests.fixtures.tiny_models import safetensors_folder, tiny_gguf
from tests.gateway.client import Api, ask, refusal

PATH = "/v1/models/import"


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A folder that may be imported from, with a model."""
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "m.gguf").write_bytes(tiny_gguf())
    return disk


@pytest.fixture
async def storage_server(tmp_path: Path, disk: Path) -> AsyncIterator[StorageServer]:
    """Storage that lets models be imported from there."""
    janroot = tmp_path / "janroot"
    store = await asyncio.to_thread(Store.open, janroot, import_paths=[disk])
    try:
        async with serving_storage(store, janroot) as storage:
            yield storage
    finally:
        await asyncio.to_thread(store.close)


@pytest.fixture
async def gateway(storage_server: StorageServer, redis_server: RedisServer, redis: object) -> AsyncIterator[Gateway]:
    async with running_gateway(storage_server, redis_server) as gateway:
        yield gateway


@pytest.fixture
async def host(engine_host: EngineHost, gateway: Gateway) -> EngineHost:
    """The engine host, reached: a channel to this address may still rest from an earlier test."""
    async with gateway.client.get("/v1/devices") as answer:
        assert answer.status == 200, await answer.text()
    return engine_host


def everything(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if "index" not in path.parts)


async def events(answer: aiohttp.ClientResponse) -> list[tuple[str, dict[str, Any]]]:
    blocks = (await answer.text()).split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    lines = [block.split("\n") for block in blocks[:-2]]
    return [(event.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for event, data in lines]


@pytest.mark.parametrize("option", ["symlink", "copy"])
async def test_cortex_spelling(
    api: Api, host: EngineHost, storage_server: StorageServer, disk: Path, option: str
) -> None:
    body = {"model": "vendor/mine", "modelPath": str(disk / "m.gguf"), "name": "Mine", "option": option}
    model = await ask(api, "POST", PATH, body)
    Model.model_validate(model, strict=True)
    assert (model["id"], model["name"], model["settings"]["ctx_len"]) == ("vendor/mine", "Mine", 2048)
    assert (model["state"], model["left_out"]) == ("ready", [])
    assert (storage_server.janroot / "models/vendor/mine/m.gguf").is_symlink() == (option == "symlink")
    assert (await ask(api, "GET", "/v1/models/vendor/mine"))["size_bytes"] == len(tiny_gguf())
    status, error = await refusal(api, "POST", PATH, json=body)
    assert (status, error["code"]) == (409, "model_exists")


async def test_progress_is_told_as_it_happens(api: Api, host: EngineHost, disk: Path) -> None:
    body = {"path": str(disk / "m.gguf"), "option": "copy", "stream": True}
    async with api.post(PATH, json=body) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        heard = await events(answer)
    assert (heard[-1][0], heard[-1][1]["id"]) == ("model.import.completed", "m")
    assert {event for event, _ in heard[:-1]} <= {"model.import.progress"}


async def test_programs_stay_where_they_are_and_are_named(api: Api, host: EngineHost, disk: Path) -> None:
    folder = await asyncio.to_thread(safetensors_folder, disk / "tiny")
    await asyncio.to_thread((folder / "run.py").write_text, "")
    model = await ask(api, "POST", PATH, {"model_path": str(folder)})
    assert (model["id"], model["engine"], model["left_out"]) == ("tiny", "vllm", ["run.py"])


async def test_files_that_no_engine_host_sees_are_a_warning(
    api: Api, redis_server: RedisServer, tmp_path: Path, disk: Path
) -> None:
    address = f"unix:{redis_server.folder}/inference_service.sock"
    with tempfile.TemporaryDirectory(prefix="jan-host-") as run_dir:
        async with running_engine_host(address, tmp_path / "elsewhere", Path(run_dir)):
            async with api.get("/v1/devices") as answer:
                assert answer.status == 200
            model = await ask(api, "POST", PATH, {"modelPath": str(disk / "m.gguf")})
    assert "must be there for the inference service" in model["warnings"][0]


async def test_nothing_is_learnt_of_paths_elsewhere(api: Api, tmp_path: Path) -> None:
    (tmp_path / "there.gguf").write_bytes(tiny_gguf())
    answers = []
    for path in ("/etc/passwd", "/etc/nothing", f"{tmp_path}/there.gguf", f"{tmp_path}/not-there.gguf"):
        async with api.post(PATH, json={"modelPath": path}) as answer:
            answers.append((answer.status, await answer.json()))
    assert answers == [answers[0]] * 4
    assert (answers[0][0], answers[0][1]["error"]["code"]) == (403, "path_not_allowed")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (400, "modelPath")),
        ({"modelPath": ""}, (400, "modelPath")),
        ({"modelPath": "m.gguf"}, (400, "modelPath")),
        ({"modelPath": 7}, (400, "modelPath")),
        ({"modelPath": "{disk}/m.gguf", "option": "move"}, (400, "option")),
        ({"modelPath": "{disk}/m.gguf", "model": "../x"}, (400, None)),
        ({"modelPath": "{disk}/m.gguf", "model": "con"}, (400, None)),
        ({"modelPath": "{disk}/m.gguf", "name": "a\0b"}, (400, "name")),
        ({"modelPath": "{disk}/m.gguf", "base_model": "x"}, (400, "base_model")),
        ({"modelPath": "{disk}/none.gguf"}, (404, "modelPath")),
        ({"modelPath": "{disk}"}, (400, "modelPath")),
    ],
)
async def test_what_cannot_be_leaves_nothing(
    api: Api, storage_server: StorageServer, disk: Path, body: dict[str, Any], expected: tuple[int, str | None]
) -> None:
    (disk / "two.gguf").write_bytes(tiny_gguf())
    before = await asyncio.to_thread(everything, storage_server.janroot)
    sent = {key: value.format(disk=disk) if isinstance(value, str) else value for key, value in body.items()}
    found, error = await refusal(api, "POST", PATH, json=sent)
    assert (found, error["param"]) == expected
    assert await asyncio.to_thread(everything, storage_server.janroot) == before
