"""Models from a Hugging Face hub: which files are taken, who is told the token, what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.fixtures.fake_hub import COMMIT, FakeHub, HubRepository
from tests.fixtures.gateway import running_gateway
from tests.fixtures.model_host import ModelHost, model_host
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.tiny_models import CONFIG, tiny_gguf, tiny_safetensors
from tests.gateway.pulls.conftest import HUB_TOKEN, Pulling, downloads_from

EYES = "mmproj-Tiny-f16.gguf"
GGUF = {
    "Tiny-Q8_0.gguf": tiny_gguf(2**17, seed=8),
    "Tiny-Q4_K_M.gguf": tiny_gguf(2**16, seed=4),
    EYES: tiny_gguf(2**10, seed=5),
    "mmproj-Tiny-Q8_0.gguf": tiny_gguf(2**10, seed=6),
    "README.md": b"# Tiny",
}
SAFETENSORS = {
    "model-00001-of-00002.safetensors": tiny_safetensors(2**16, seed=1),
    "model-00002-of-00002.safetensors": tiny_safetensors(2**16, seed=2),
    "model.safetensors.index.json": b'{"weight_map": {}}',
    "config.json": json.dumps(CONFIG).encode(),
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{}",
    "pytorch_model.bin": b"\x80\x04 a pickle",
    "modeling_tiny.py": b"print('hello')",
    "onnx/model.onnx": b"x",
}


@pytest.fixture
def hub(host: ModelHost) -> FakeHub:
    return FakeHub(host)


def names(pulling: Pulling, model_id: str) -> list[str]:
    return sorted(path.name for path in (pulling.models / model_id).iterdir())


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("acme/Tiny-GGUF", "Tiny-Q4_K_M.gguf"),
        ("hf://acme/Tiny-GGUF", "Tiny-Q4_K_M.gguf"),
        ("acme/Tiny-GGUF:q8_0", "Tiny-Q8_0.gguf"),
        ("acme/Tiny-GGUF@main:Tiny-Q8_0.gguf", "Tiny-Q8_0.gguf"),
        ("acme:Tiny-GGUF:Tiny-Q8_0.gguf", "Tiny-Q8_0.gguf"),
        ("{hub}/acme/Tiny-GGUF", "Tiny-Q4_K_M.gguf"),
        ("{hub}/acme/Tiny-GGUF/tree/main", "Tiny-Q4_K_M.gguf"),
        ("{hub}/acme/Tiny-GGUF/blob/main/Tiny-Q8_0.gguf", "Tiny-Q8_0.gguf"),
    ],
)
async def test_one_gguf_of_a_repository_is_taken(pulling: Pulling, hub: FakeHub, source: str, name: str) -> None:
    hub.add(HubRepository("acme/Tiny-GGUF", files=GGUF))
    pull = await pulling.pull(source.format(hub=pulling.host.url))
    assert (pull["state"], pull["model"]) == ("completed", name.removesuffix(".gguf")), pull
    assert names(pulling, pull["model"]) == sorted([name, EYES, "model.json"])
    assert (pulling.models / pull["model"] / name).read_bytes() == GGUF[name]
    model = json.loads((pulling.models / pull["model"] / "model.json").read_text())
    assert model["metadata"]["author"] == "acme"
    told = {"llama_model_path": name, "mmproj": EYES}
    assert {key: model["settings"][key] for key in told} == told
    assert (await pulling.gateway.json("GET", f"/v1/models/{pull['model']}"))["sees"]
    assert model["sources"][0]["url"].endswith(f"/acme/Tiny-GGUF/resolve/{COMMIT}/{name}")


async def test_safetensors_come_with_configuration_and_tokenizer_and_without_programs(
    pulling: Pulling, hub: FakeHub
) -> None:
    hub.add(HubRepository("acme/Tiny", files=SAFETENSORS))
    pull = await pulling.pull("acme/Tiny", name="Tiny!")
    assert (pull["state"], pull["model"]) == ("completed", "Tiny")
    left_out = {"pytorch_model.bin", "modeling_tiny.py", "onnx/model.onnx"}
    assert names(pulling, "Tiny") == sorted((SAFETENSORS.keys() - left_out) | {"model.json"})
    model = await pulling.gateway.json("GET", "/v1/models/Tiny")
    assert (model["engine"], model["format"], model["name"]) == ("vllm", "safetensors", "Tiny!")
    assert model["state"] == "ready"


async def test_a_repository_of_pickles_is_refused(pulling: Pulling, hub: FakeHub) -> None:
    hub.add(HubRepository("acme/Old", files={"pytorch_model.bin": b"x", "config.json": b"{}"}))
    error = (await pulling.gateway.json("POST", "/v1/models/pull", {"model": "acme/Old"}, status=400))["error"]
    assert (error["code"], "pickles" in error["message"]) == ("model_file_invalid", True)


async def test_a_configuration_that_wants_code_of_its_own_never_becomes_a_model(pulling: Pulling, hub: FakeHub) -> None:
    config = json.dumps(CONFIG | {"auto_map": {"AutoModel": "modeling_tiny.Tiny"}}).encode()
    hub.add(HubRepository("acme/Tiny", files=SAFETENSORS | {"config.json": config}))
    pull = await pulling.pull("acme/Tiny")
    assert (pull["state"], pull["error"]["code"]) == ("error", "model_file_invalid")
    assert "auto_map" in pull["error"]["message"]
    assert not (pulling.models / "Tiny").exists()
    assert pulling.left_over() == []


async def test_the_token_opens_a_private_repository_and_is_told_to_the_hub_alone(
    storage_server: StorageServer, redis_server: RedisServer, redis: object, host: ModelHost, hub: FakeHub
) -> None:
    hub.add(HubRepository("acme/Private", files=GGUF, token=HUB_TOKEN))
    path = f"/acme/Private/resolve/{COMMIT}/Tiny-Q4_K_M.gguf"
    async with model_host() as network:
        network.add("/x", GGUF["Tiny-Q4_K_M.gguf"])
        host.files[path].leads_to = f"{network.url}/x"
        settings = downloads_from(host, network)
        async with running_gateway(storage_server, redis_server, **settings) as gateway:
            assert (await Pulling(gateway, host, storage_server).pull("acme/Private"))["state"] == "completed"
    told = {path for path, headers in host.requests if HUB_TOKEN in headers.get("authorization", "")}
    eyes = {f"/acme/Private/resolve/{COMMIT}/{EYES}", f"/cdn/acme/Private/{EYES}"}  # on the hub itself
    assert told == {"/api/models/acme/Private", path} | eyes
    assert [headers.get("authorization") for _, headers in network.requests] == [None]


@pytest.mark.parametrize(
    ("repository", "source", "answer"),
    [
        (HubRepository("acme/Gated", gated=True, files=GGUF), "acme/Gated", (403, "repository_gated")),
        (HubRepository("acme/Private", token="another", files=GGUF), "acme/Private", (404, "repository_not_found")),
        (HubRepository("acme/Tiny", files=GGUF), "acme/Typo", (404, "repository_not_found")),
        (HubRepository("acme/Tiny", files=GGUF), "acme/Tiny@v9", (404, "repository_not_found")),
        (HubRepository("acme/Tiny", files=GGUF), "acme/Tiny:Q2_K", (400, "ambiguous_source")),
        (HubRepository("acme/Tiny", files={"README.md": b"x"}), "acme/Tiny", (400, "model_file_invalid")),
    ],
)
async def test_what_a_hub_does_not_give(
    pulling: Pulling, hub: FakeHub, repository: HubRepository, source: str, answer: tuple[int, str]
) -> None:
    hub.add(repository)
    status, code = answer
    told = await pulling.gateway.json("POST", "/v1/models/pull", {"model": source}, status=status)
    assert told["error"]["code"] == code
    assert (await pulling.gateway.json("GET", "/v1/models/pull"))["data"] == []


async def test_a_hub_that_does_not_answer(
    storage_server: StorageServer, redis_server: RedisServer, redis: object, host: ModelHost
) -> None:
    settings = downloads_from(host) | {"HF_ENDPOINT": "http://127.0.0.1:9", "JANROOT_DOWNLOAD_HOSTS": "127.0.0.1:9"}
    async with running_gateway(storage_server, redis_server, **settings) as gateway:
        answer = await gateway.json("POST", "/v1/models/pull", {"model": "acme/Tiny"}, status=503)
        assert "The hub does not answer" in answer["error"]["message"]


def leading_to(target: str) -> Callable[[web.Request], web.StreamResponse]:
    return lambda _: web.Response(status=302, headers={"Location": target})


async def test_a_hub_that_leads_elsewhere_is_not_followed(pulling: Pulling) -> None:
    async with model_host() as inside:  # not in JANROOT_DOWNLOAD_HOSTS
        for target in (f"{inside.url}/latest", inside.url.replace("http:", "https:"), "//[", "file:///etc/passwd"):
            pulling.host.hub = leading_to(target)
            async with pulling.gateway.client.post("/v1/models/pull", json={"model": "acme/Tiny"}) as answer:
                assert answer.status in (400, 403, 503), await answer.text()
        assert inside.requests == []


async def test_a_hub_leads_to_another_allowed_server_in_vain(
    storage_server: StorageServer, redis_server: RedisServer, redis: object, host: ModelHost
) -> None:
    async with model_host() as other:
        host.hub = leading_to(f"{other.url}/api/models/acme/Tiny")
        async with running_gateway(storage_server, redis_server, **downloads_from(host, other)) as gateway:
            answer = await gateway.json("POST", "/v1/models/pull", {"model": "acme/Tiny"}, status=503)
        assert "The hub does not answer as it should: It leads on to another server" in answer["error"]["message"]
        assert other.requests == []


async def test_a_repository_that_has_another_name_now(pulling: Pulling, hub: FakeHub) -> None:
    hub.add(HubRepository("acme/New", files=GGUF))

    def answer(request: web.Request) -> web.StreamResponse | None:
        if request.path.startswith("/api/models/acme/Old"):
            location = request.path_qs.replace("/acme/Old", "/acme/New")
            return web.Response(status=307, headers={"Location": location})
        return hub.answer(request)

    pulling.host.hub = answer
    assert (await pulling.pull("acme/Old"))["state"] == "completed"


FILE: dict[str, Any] = {"rfilename": "a.gguf", "size": 8}


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"[" * 100_000,
        {"secret": 1},
        {"id": "acme/Tiny"},
        {"id": "../..", "sha": COMMIT, "siblings": [FILE]},
        {"id": "acme/Tiny", "sha": "../main", "siblings": [FILE]},
        {"id": "acme/Tiny", "sha": COMMIT, "siblings": 7},
        {"id": "acme/Tiny", "sha": COMMIT, "siblings": [{"size": 8}]},
        {"id": "acme/Tiny", "sha": COMMIT, "siblings": [{"rfilename": 3}]},
        {"id": "acme/Tiny", "sha": COMMIT, "siblings": [FILE | {"size": "8"}]},
        {"id": "acme/Tiny", "sha": COMMIT, "siblings": [FILE | {"size": -8}]},
        {"id": "acme/Tiny", "sha": COMMIT, "siblings": [FILE | {"lfs": {"sha256": 1, "size": 8, "pointerSize": 1}}]},
        {"id": "acme/Tiny", "sha": COMMIT, "siblings": [FILE | {"lfs": [1]}]},
        {"id": "acme/Tiny", "sha": COMMIT, "author": [1], "siblings": [FILE]},
    ],
)
async def test_a_hub_that_answers_what_hubs_do_not(pulling: Pulling, told: Any) -> None:
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    pulling.host.hub = lambda _: web.Response(body=body)
    answer = await pulling.gateway.json("POST", "/v1/models/pull", {"model": "acme/Tiny"}, status=503)
    assert "The hub does not answer as it should" in answer["error"]["message"]


async def test_bytes_that_are_not_the_hubs_are_given_up(pulling: Pulling, hub: FakeHub) -> None:
    hub.add(HubRepository("acme/Tiny", files=GGUF))
    wrong = tiny_gguf(2**16, seed=99)
    assert len(wrong) == len(GGUF["Tiny-Q4_K_M.gguf"])
    pulling.host.add("/cdn/acme/Tiny/Tiny-Q4_K_M.gguf", wrong)
    pull = await pulling.pull("acme/Tiny")
    assert (pull["state"], pull["error"]["code"]) == ("error", "download_corrupt")
    assert pulling.left_over() == []


async def test_files_listed_by_the_hubs_names(pulling: Pulling, hub: FakeHub) -> None:
    hub.add(HubRepository("acme/Tiny", files=GGUF))
    sources = [{"url": "hf://acme/Tiny/Tiny-Q8_0.gguf", "filename": "t.gguf"}]
    pull = await pulling.pull(id="mine/t", sources=sources)
    assert (pull["state"], names(pulling, "mine/t")) == ("completed", ["model.json", "t.gguf"])
    sources[0]["sha256"] = hashlib.sha256(b"another").hexdigest()
    error = await pulling.gateway.json("POST", "/v1/models/pull", {"id": "u", "sources": sources}, status=400)
    assert error["error"]["param"] == "sha256"
    error = await pulling.gateway.json("POST", "/v1/models/pull", {"sources": sources}, status=400)
    assert error["error"]["param"] == "id"


async def test_a_model_at_rest_gets_the_weights_that_its_model_json_names(pulling: Pulling, hub: FakeHub) -> None:
    hub.add(HubRepository("acme/Tiny", files=GGUF))
    url = f"{pulling.host.url}/acme/Tiny/resolve/{COMMIT}/Tiny-Q8_0.gguf"
    folder = pulling.models / "at-rest"
    write_at_rest(folder, url)
    before = (folder / "model.json").read_bytes()
    assert (await pulling.gateway.json("GET", "/v1/models/at-rest"))["state"] == "to_download"
    begun = await pulling.gateway.json("POST", "/v1/models/at-rest/pull", {}, status=202)
    assert (await pulling.end(begun))["state"] == "completed"
    assert (folder / "own.gguf").read_bytes() == GGUF["Tiny-Q8_0.gguf"]
    assert (folder / "model.json").read_bytes() == before
    assert (await pulling.gateway.json("GET", "/v1/models/at-rest"))["state"] == "ready"
    error = await pulling.gateway.json("POST", "/v1/models/at-rest/pull", {}, status=409)
    assert error["error"]["code"] == "model_exists"


def write_at_rest(folder: Path, url: str) -> None:
    folder.mkdir(parents=True)
    model = {"id": "at-rest", "object": "model", "format": "gguf", "sources": [{"filename": "own.gguf", "url": url}]}
    (folder / "model.json").write_text(json.dumps(model))
