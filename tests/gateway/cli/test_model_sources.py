"""`janroot models pull`, `cancel` and `import` as people call them.

Downloads are told by a server whose timing is ours, in the words of the gateway's own routes; imports by a gateway.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from storage_service.store.store import Store
from tests.fixtures.gateway import Gateway, running_gateway
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer, serving_storage
from tests.fixtures.tiny_models import safetensors_folder, tiny_gguf, tiny_safetensors

ROOT = Path(__file__).resolve().parents[3]
PULL = "pull_0123456789abcdef01234567"


async def start(url: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        # A shell's background job has Ctrl-C ignored, and so would all that it starts.
        *("env", "--default-signal=INT"),
        *(sys.executable, "-m", "gateway.cli", "--url", url, "models", *arguments),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def said(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    out, error = await process.communicate()
    return process.returncode, out.decode(), error.decode()


def progress(count: int) -> dict[str, Any]:
    files = [{"name": "m.gguf", "bytes": count, "total_bytes": 3_000}]
    shape = {"id": PULL, "state": "downloading", "files": files, "bytes": count, "total_bytes": 3_000}
    return shape | {"bytes_per_second": 1_000, "eta_seconds": 1}


def record(state: str) -> dict[str, Any]:
    return progress(3_000) | {"object": "model.pull", "model": "demo", "state": state, "error": None}


FIT = {
    "why": "It does not fit: it needs 40.0 GiB.",
    "fits": False,
    "needs": {"weights": 4_000, "kv_cache": 300, "overhead": 20, "total": 4_320},
    "ctx_len": 8192,
    "n_parallel": 4,
    "measured": False,
}


UNKNOWN = {"error": {"message": "No.", "type": "invalid_request_error", "param": None, "code": "model_not_found"}}


class Puller:
    """Says of downloads what a test wants said; each of `streams` is what one reader hears."""

    def __init__(self, *streams: list[tuple[str, dict[str, Any]]]) -> None:
        self.streams = list(streams)
        self.asked: list[tuple[str, str, Any]] = []
        self.heard = asyncio.Event()
        self.hold = asyncio.Event()
        self.hold.set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if (request.method, request.path) == ("GET", "/v1/models/org/demo"):
            return web.json_response(UNKNOWN, status=404)
        self.asked.append((request.method, request.path, await request.json() if request.can_read_body else None))
        match request.method, request.path:
            case "GET", "/v1/models/pull":
                return web.json_response({"object": "list", "data": [record("downloading")]})
            case "POST", "/v1/models/fit":
                return web.json_response(FIT)
            case "POST", path if path.endswith("/fit"):
                return web.json_response(UNKNOWN, status=404)
            case "POST", path if path.endswith("/start"):
                self.heard.set()
                await self.hold.wait()
            case "DELETE", _:
                return web.json_response(record("cancelled"))
        stream = self.streams.pop(0) if self.streams else None
        if stream is None:
            error = {"message": "Downloads are off.", "type": "permission_error", "param": None, "code": None}
            return web.json_response({"error": error}, status=403)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event, data in stream:
            await response.write(f"event: {event}\ndata: {json.dumps(data)}\n\n".encode())
        self.heard.set()
        await self.hold.wait()
        return response


@asynccontextmanager
async def pulling(*streams: list[tuple[str, dict[str, Any]]]) -> AsyncIterator[tuple[Puller, str]]:
    puller = Puller(*streams)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", puller.answer)
    server = TestServer(app)
    await server.start_server()
    try:
        yield puller, str(server.make_url("/"))
    finally:
        puller.hold.set()
        await server.close()


STEPS = [("model.pull.progress", progress(1_000)), ("model.pull.progress", progress(2_000))]
END = [("model.pull.completed", record("completed"))]


async def test_a_download_is_watched_to_its_end() -> None:
    async with pulling(STEPS + END) as (puller, url):
        assert await said(await start(url, "pull", "org/demo:Q4_K_M", "--id", "mine")) == (
            0,
            "demo is here: 3.0 KB.\n",
            "",
        )
    assert puller.asked == [("POST", "/v1/models/pull", {"model": "org/demo:Q4_K_M", "stream": True, "id": "mine"})]


async def test_a_stream_that_breaks_is_taken_up_again() -> None:
    async with pulling(STEPS, [], END) as (puller, url):
        code, out, _ = await said(await start(url, "pull", "org/demo", "--json"))
    assert (code, json.loads(out)) == (0, record("completed"))
    assert [path for _, path, _ in puller.asked] == ["/v1/models/pull", *[f"/v1/models/pull/{PULL}/events"] * 2]


async def test_why_a_download_failed_is_told() -> None:
    failure = {"error": {"message": "m.gguf is not a usable model: it ends early.", "code": "model_file_invalid"}}
    async with pulling([*STEPS, ("error", failure)]) as (_, url):
        assert await said(await start(url, "pull", "org/demo")) == (
            *(2, ""),
            "janroot: m.gguf is not a usable model: it ends early.\n",
        )
    async with pulling() as (_, url):
        assert (await said(await start(url, "pull", "org/demo")))[2] == "janroot: Downloads are off.\n"


async def test_ctrl_c_leaves_the_download_and_says_how_to_end_it() -> None:
    async with pulling(STEPS) as (puller, url):
        puller.hold.clear()
        process = await start(url, "pull", "org/demo")
        await puller.heard.wait()
        asked = 0
        while process.returncode is None:
            process.send_signal(signal.SIGINT)
            asked += 1
            try:
                async with asyncio.timeout(2):
                    await process.wait()
            except TimeoutError:
                assert asked < 10
        code, out, complained = await said(process)
    assert (code, out) == (130, "")
    goes_on = "janroot: the download goes on without you. `janroot models list` tells how far it is, "
    goes_on += f"`janroot models cancel {PULL}` ends it.\n"
    assert complained in (goes_on, "janroot: stopped.\n")  # the latter before it had read the first event
    assert [method for method, _, _ in puller.asked] == ["POST"]


async def test_ctrl_c_leaves_the_load_and_says_how_to_end_it() -> None:
    async with pulling() as (puller, url):
        puller.hold.clear()
        process = await start(url, "start", "demo")
        await puller.heard.wait()
        process.send_signal(signal.SIGINT)
        assert await said(process) == (130, "", "It goes on loading; `janroot models stop demo` ends that.\n")


async def test_whether_it_would_fit_is_told_before_the_download() -> None:
    async with pulling() as (puller, url):
        code, out, _ = await said(await start(url, "fit", "org/demo:Q4_K_M", "--ctx-len", "8192"))
        assert (code, out.splitlines()[0]) == (1, FIT["why"])
        assert puller.asked[-1] == ("POST", "/v1/models/fit", {"ctx_len": 8192, "source": "org/demo:Q4_K_M"})
        assert (await said(await start(url, "fit", "demo")))[0] == 2
        assert puller.asked[-1][1].endswith("/demo/fit")


@pytest.mark.parametrize("name", [PULL, "demo"])
async def test_a_download_is_cancelled_by_its_id_or_its_models(name: str) -> None:
    async with pulling() as (puller, url):
        assert await said(await start(url, "cancel", name)) == (0, "demo: cancelled.\n", "")
        assert puller.asked[-1][:2] == ("DELETE", f"/v1/models/pull/{PULL}")
        code, _, complained = await said(await start(url, "cancel", "other"))
    assert (code, complained.startswith("janroot: no download of 'other' is under way: ")) == (2, True)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A folder that may be imported from, with two models."""
    safetensors_folder(tmp_path / "disk/tiny")
    (tmp_path / "disk/tiny/run.py").write_text("")
    (tmp_path / "disk/m.gguf").write_bytes(tiny_gguf())
    return tmp_path / "disk"


@pytest.fixture
async def gateway(redis_server: RedisServer, redis: object, tmp_path: Path, disk: Path) -> AsyncIterator[Gateway]:
    janroot = tmp_path / "janroot"
    store = await asyncio.to_thread(Store.open, janroot, import_paths=[disk])
    try:
        async with serving_storage(store, janroot) as storage, running_gateway(storage, redis_server) as gateway:
            yield gateway
    finally:
        await asyncio.to_thread(store.close)


async def test_a_file_and_a_folder_are_imported(gateway: Gateway, disk: Path) -> None:
    code, out, complained = await said(await start(gateway.url, "import", str(disk / "m.gguf"), "--name", "Mine"))
    assert (code, out, complained) == (0, f"m is here: llamacpp (gguf), {len(tiny_gguf()) / 1000:.1f} KB.\n", "")
    code, out, _ = await said(await start(gateway.url, "import", str(disk / "tiny"), "--id", "my/tiny", "--copy"))
    assert (code, out.splitlines()[:2]) == (
        0,
        [f"my/tiny is here: vllm (safetensors), {len(tiny_safetensors()) / 1000:.1f} KB.", "Left where it is: run.py."],
    )
    code, _, complained = await said(await start(gateway.url, "import", str(disk / "m.gguf"), "--id", "m"))
    assert (code, "choose another id" in complained) == (2, True)


async def test_what_may_not_be_imported_is_told_with_the_setting(gateway: Gateway, tmp_path: Path) -> None:
    code, _, complained = await said(await start(gateway.url, "import", str(tmp_path / "other.gguf")))
    assert (code, "JANROOT_IMPORT_PATHS" in complained) == (2, True)


async def test_without_the_setting_imports_are_off(
    storage_server: StorageServer, redis_server: RedisServer, redis: object, disk: Path
) -> None:
    async with running_gateway(storage_server, redis_server) as gateway:
        code, _, complained = await said(await start(gateway.url, "import", str(disk / "m.gguf")))
    assert (code, "name the folders in JANROOT_IMPORT_PATHS" in complained) == (2, True)
