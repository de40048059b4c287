"""What a load would warn of is told before the first one, and the context that a model has."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.engine_host import EngineHost
from tests.fixtures.gateway import Gateway, write_model
from tests.fixtures.storage import StorageServer
from tests.fixtures.tiny_models import tiny_gguf
from tests.gateway.client import Api, ask

GGUF: dict[str, Any] = {"engine": "llamacpp", "format": "gguf", "sources": [{"filename": "m.gguf"}]}


@pytest.fixture
async def host(engine_host: EngineHost, gateway: Gateway) -> EngineHost:
    """The engine host, reached: a channel to this address may still rest from an earlier test."""
    async with gateway.client.get("/v1/devices") as answer:
        assert answer.status == 200, await answer.text()
    return engine_host


def install(storage: StorageServer, model_id: str, weights: bytes, **settings: object) -> None:
    write_model(storage.janroot, model_id, **GGUF, settings=settings)
    (storage.janroot / "models" / model_id / "m.gguf").write_bytes(weights)


async def test_a_model_that_was_never_loaded_tells_its_warnings(
    api: Api, host: EngineHost, storage_server: StorageServer
) -> None:
    install(storage_server, "odd", tiny_gguf(), swap_space=4, n_parallel="many", replicas=0)
    install(storage_server, "cut", tiny_gguf()[:200], ngl=0)
    write_model(storage_server.janroot, "remote", settings={"ctx_len": 9})
    listed = {model["id"]: model for model in (await ask(api, "GET", "/v1/models"))["data"]}
    for name, found in listed.items():
        assert await ask(api, "GET", f"/v1/models/{name}") == found
        assert (found["state"], found["error"]) == ("ready", None)
    odd = " ".join(listed["odd"]["warnings"])
    assert all(f"Setting {name} " in odd for name in ('"swap_space"', "n_parallel", "replicas"))
    assert len(listed["odd"]["warnings"]) == 3
    assert "not a usable model" in listed["cut"]["warnings"][-1]
    assert listed["remote"]["warnings"] == ['Setting "ctx_len" is not used by engine openai.']
    assert host.models.all() == []


@pytest.mark.parametrize(
    ("made_for", "settings", "ctx_len"),
    [(2_048, {}, 2_048), (131_072, {}, 8_192), (131_072, {"ctx_len": 16_384}, 16_384), (0, {}, 8_192)],
)
@pytest.mark.usefixtures("host")
async def test_the_context_is_told_that_a_model_has(
    api: Api, storage_server: StorageServer, made_for: int, settings: dict[str, Any], ctx_len: int
) -> None:
    install(storage_server, "m", tiny_gguf(context_tokens=made_for), **settings)
    assert (await ask(api, "GET", "/v1/models/m"))["ctx_len"] == ctx_len
    assert (await ask(api, "POST", "/v1/models/m/fit", {}))["ctx_len"] == ctx_len
