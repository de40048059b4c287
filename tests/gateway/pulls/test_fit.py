"""Whether a model fits that is not here: only the heads of its files are fetched, and they are not believed."""

from __future__ import annotations

import json
import struct

import pytest

from gateway.keys import PULLS
from jan.formats.config import describe_config
from tests.fixtures.engine_host import EngineHost
from tests.fixtures.fake_hub import COMMIT, FakeHub, HubRepository
from tests.fixtures.model_host import ModelHost
from tests.fixtures.tiny_models import CONFIG, tiny_gguf, tiny_safetensors
from tests.gateway.pulls.conftest import Pulling

MIB = 2**20
GGUF = tiny_gguf(8 * MIB)


@pytest.fixture
async def fitting(pulling: Pulling, engine_host: EngineHost) -> Pulling:
    """With an engine host that is reached: a channel to this address may still rest from an earlier test."""
    await pulling.gateway.json("GET", "/v1/devices")
    return pulling


async def test_a_file_that_is_elsewhere_is_answered_as_one_that_is_here(fitting: Pulling) -> None:
    fitting.host.add("/a.gguf", GGUF)
    url = f"{fitting.host.url}/a.gguf"
    there = await fitting.gateway.json("POST", "/v1/models/fit", {"source": url, "ctx_len": 512, "n_parallel": 2})
    assert fitting.host.sent_bytes["/a.gguf"] < MIB
    assert not (fitting.models / "a").exists()
    await fitting.pull(url)
    here = await fitting.gateway.json("POST", "/v1/models/a/fit", {"ctx_len": 512, "n_parallel": 2})
    assert there == here
    assert there["needs"]["weights"] == 8 * MIB


async def test_before_the_download_it_is_asked_of_the_context_that_the_model_will_have(fitting: Pulling) -> None:
    fitting.host.add("/long.gguf", tiny_gguf(4 * MIB, context_tokens=32_768))
    fitting.host.add("/short.gguf", tiny_gguf(4 * MIB))
    for name, ctx_len in (("long", 8192), ("short", 2048)):
        url = f"{fitting.host.url}/{name}.gguf"
        there = await fitting.gateway.json("POST", "/v1/models/fit", {"source": url})
        await fitting.pull(url)
        here = await fitting.gateway.json("POST", f"/v1/models/{name}/fit", {})
        assert there == here
        assert there["ctx_len"] == ctx_len


async def test_a_repository_of_several_files(pulling: Pulling, host: ModelHost) -> None:
    files = {f"model-0000{n}-of-00002.safetensors": tiny_safetensors(MIB, seed=n) for n in (1, 2)}
    files |= {"config.json": json.dumps(CONFIG).encode(), "tokenizer.json": b"{}"}
    FakeHub(host).add(HubRepository("acme/Tiny", files=files))
    puller = pulling.gateway.app[PULLS]
    described = await puller.headers.describe(await puller.planner.plan("acme/Tiny"))
    assert described == describe_config(CONFIG, 2 * MIB)
    assert {path for path in host.sent_bytes if "cdn" in path} == {f"/cdn/acme/Tiny/{name}" for name in list(files)[:2]}
    host.files[f"/acme/Tiny/resolve/{COMMIT}/config.json"].data = json.dumps(
        CONFIG | {"auto_map": {"A": "b.C"}}
    ).encode()
    answer = await pulling.gateway.json("POST", "/v1/models/fit", {"source": "acme/Tiny"}, status=400)
    assert "auto_map" in answer["error"]["message"]


async def test_a_header_that_is_longer_than_its_first_part(fitting: Pulling) -> None:
    texts = b"".join(struct.pack("<Q", 8) + b"%08d" % number for number in range(60_000))
    fitting.host.add("/a.gguf", tiny_gguf(4 * MIB, texts=texts, count=60_000))
    answer = await fitting.gateway.json("POST", "/v1/models/fit", {"source": f"{fitting.host.url}/a.gguf"})
    assert answer["needs"]["weights"] == 4 * MIB
    asked = [headers["range"] for _, headers in fitting.host.requests]
    assert asked == ["bytes=0-3", "bytes=0-262143", "bytes=262144-1048575"]


@pytest.mark.parametrize("size", [len(GGUF) - 4096, 1000])
async def test_a_header_that_lies(fitting: Pulling, size: int) -> None:
    fitting.host.add("/a.gguf", GGUF[:size])
    body = {"source": f"{fitting.host.url}/a.gguf"}
    error = (await fitting.gateway.json("POST", "/v1/models/fit", body, status=400))["error"]
    assert (error["code"], "a.gguf is not a usable model" in error["message"]) == ("model_file_invalid", True)
