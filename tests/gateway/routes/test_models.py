from __future__ import annotations

import json
from pathlib import Path

from openai.types import Model
from yarl import URL

from tests.fixtures.gateway import MODEL_ID
from tests.fixtures.storage import StorageServer
from tests.gateway.client import Api, ask, refusal


def install(janroot: Path, model_id: str) -> None:
    folder = janroot / "models" / model_id
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(
        json.dumps({"id": model_id, "name": "Demo", "created": 1700000000, "format": "gguf", "settings": {"ngl": 0}})
    )


async def test_models_are_listed_by_id(api: Api, storage_server: StorageServer) -> None:
    for model_id in ("zephyr", "vendor/name"):
        install(storage_server.janroot, model_id)
    models = (await ask(api, "GET", "/v1/models"))["data"]
    for model in models:
        Model.model_validate(model, strict=True)
    assert [model["id"] for model in models] == [MODEL_ID, "vendor/name", "zephyr"]


async def test_an_id_may_hold_slashes_plain_or_encoded(api: Api, storage_server: StorageServer) -> None:
    install(storage_server.janroot, "vendor/name")
    for path in ("vendor/name", "vendor%2Fname", "vendor%2fname"):
        model = await ask(api, "GET", URL(f"/v1/models/{path}", encoded=True))
        Model.model_validate(model, strict=True)
        assert (model["id"], model["created"], model["owned_by"]) == ("vendor/name", 1700000000, "you")
        assert (model["name"], model["engine"], model["settings"]) == ("Demo", "llamacpp", {"ngl": 0})


async def test_an_unknown_model_is_not_found(api: Api) -> None:
    for path in ("gpt-4", "vendor/name", "..%2F..%2Fetc", "%00", "a//b", "x" * 4000, "%ff", "con"):
        status, error = await refusal(api, "GET", URL(f"/v1/models/{path}", encoded=True))
        assert (status, error["code"], error["param"]) == (404, "model_not_found", "model")
        assert len(error["message"]) < 200
