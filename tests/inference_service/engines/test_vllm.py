"""vLLM for real, on the CPU, with the demo model: `make test-vllm`. A start takes the better part of a minute."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from inference_service.devices.device import Device, DeviceKind
from inference_service.engines.client import EngineClient
from inference_service.engines.engine import Engine
from inference_service.engines.launcher import Launcher
from inference_service.engines.vllm import VllmEngine
from inference_service.memory.measurements import Measurements
from inference_service.memory.placement import Placement, Share
from inference_service.models.model import Model
from inference_service.weights.files import WeightHomes
from jan.errors import FailedPreconditionError, InvalidArgumentError
from jan.inference.v1.jobs_pb2 import BaseModel, ModelSpec
from jan.queue.follower import LogFollower
from tests.inference_service.bench import Bench
from tests.inference_service.engines.asking import FORGED, MESSAGES, TOOLS, formatted, whole
from tests.inference_service.engines.continuation_contract import ContinuationContract
from tests.inference_service.engines.contract import EngineContract
from tests.inference_service.engines.embedding_contract import EmbeddingContract
from tests.inference_service.engines.traits import BusySlots, Trait

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

LOAD_TIMEOUT = timedelta(seconds=400)
TEMPLATE_WITH_TOOLS = """{%- if tools -%}<|im_start|>system
You may call these: {{ tools | tojson }}
Call as <tool_call>{"name": ..., "arguments": ...}</tool_call><|im_end|>
{% endif -%}
{%- for message in messages -%}<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""
RUNNING = ("vllm:num_requests_running{", "vllm:num_requests_waiting{")


def vllm(model_id: str = "demo", **settings: object) -> ModelSpec:
    given = {"ctx_len": 1024, "n_parallel": 4, "cpu_threads": 1, **settings}
    return ModelSpec(id=model_id, engine="vllm", format="safetensors", settings_json=json.dumps(given))


def launcher(models: Path, python: Path, run_dir: Path) -> Launcher:
    measurements = Measurements(run_dir / "measurements.json")
    return Launcher(WeightHomes(models, models.parent), run_dir, LOAD_TIMEOUT, measurements, vllm_python=python)


async def make(models: Path, python: Path, run_dir: Path, spec: ModelSpec) -> VllmEngine:
    """An engine on the CPU, not started."""
    device = Device("cpu", DeviceKind.CPU, "CPU", 2**36, 2**36)
    engine = await launcher(models, python, run_dir).make(spec, Placement((Share(device, 2**30),), ""))
    assert isinstance(engine, VllmEngine)
    return engine


def family_of(engine: VllmEngine) -> list[psutil.Process]:
    """An engine's guard, server, core and worker, in this order."""
    guard = psutil.Process(engine.pid)
    return [guard, *guard.children(recursive=True)]


def shared_by(processes: list[psutil.Process]) -> set[Path]:
    """The blocks of shared memory that they have mapped."""
    paths = {Path(mapped.path) for process in processes for mapped in process.memory_maps()}
    return {path for path in paths if path.is_relative_to("/dev/shm/") and path.exists()}


async def all_gone(processes: list[psutil.Process]) -> bool:
    await asyncio.to_thread(psutil.wait_procs, processes, timeout=20)
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


@pytest.fixture(scope="module")
def module_run_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="jan-run-") as folder:
        yield Path(folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(vllm_models: Path, vllm_python: Path, module_run_dir: Path) -> AsyncIterator[Engine]:
    engine = await make(vllm_models, vllm_python, module_run_dir, vllm())
    await engine.start()
    yield engine
    await engine.stop()


@pytest.mark.asyncio(loop_scope="module")
class TestVllm(EngineContract, ContinuationContract):
    """One engine for the whole contract: whatever a test does to it, the next one finds it ready."""

    traits = frozenset({Trait.REFUSES_TO_CHOOSE_TOOLS})

    @pytest_asyncio.fixture(loop_scope="module")
    async def client(self, engine: Engine) -> AsyncIterator[EngineClient]:  # type: ignore[override]  # it runs already
        assert isinstance(engine, VllmEngine)
        async with EngineClient(engine._connection) as client:
            yield client

    @pytest.fixture
    def busy_slots(self) -> BusySlots:
        async def busy(client: EngineClient) -> int:
            async with client._session.get("http://engine/metrics") as response:
                lines = (await response.text()).splitlines()
            return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines if line.startswith(RUNNING))

        return busy

    async def test_tells_how_it_came_up(self, engine: VllmEngine) -> None:
        assert (engine.activity, engine.progress()) == ("starting to serve", 0.97)
        assert engine.warnings == ()

    async def test_it_listens_where_nobody_else_comes(self, engine: VllmEngine, module_run_dir: Path) -> None:
        socket = engine._socket
        assert socket.parent.stat().st_mode & 0o077 == 0
        listening = [
            connection.laddr.ip
            for process in family_of(engine)
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert set(listening) <= {"127.0.0.1", "::1"}

    async def test_needs_its_key(self, engine: VllmEngine, client: EngineClient) -> None:
        client._session.headers.clear()
        with pytest.raises(Exception, match="refuses our key"):
            await whole(engine, client, {"messages": MESSAGES, "max_tokens": 1})

    async def test_answers_any_json_object(self, engine: VllmEngine, client: EngineClient) -> None:
        ask = [{"role": "user", "content": "Give me an empty JSON object."}]
        request = {"messages": ask, "max_tokens": 200, "temperature": 0, "response_format": {"type": "json_object"}}
        choice = (await whole(engine, client, request))["choices"][0]
        if choice["finish_reason"] == "stop":
            assert isinstance(json.loads(choice["message"]["content"]), dict)
        assert choice["message"]["content"].startswith("{")
        assert "\n" not in choice["message"]["content"]

    async def test_a_bias_bends_every_token(self, engine: VllmEngine, client: EngineClient) -> None:
        request = {
            "messages": MESSAGES,
            "max_tokens": 4,
            "temperature": 0,
            "logprobs": True,
            "logit_bias": {"260": 100},
        }
        entries = (await whole(engine, client, request))["choices"][0]["logprobs"]["content"]
        assert len({entry["token"] for entry in entries}) == 1

    async def test_a_limit_beyond_the_context_is_no_mistake(self, engine: VllmEngine, client: EngineClient) -> None:
        answer = await whole(engine, client, {"messages": MESSAGES, "max_tokens": 10**6, "stop": [" "]})
        assert answer["choices"][0]["finish_reason"] == "stop"

    @pytest.mark.parametrize(
        "schema", [{"type": "bogus"}, {"type": "object", "properties": {"a": {"type": "string", "pattern": "^+a("}}}]
    )
    async def test_a_schema_that_cannot_be_is_the_clients_mistake(
        self, engine: VllmEngine, client: EngineClient, schema: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidArgumentError) as caught:
            await whole(engine, client, {"messages": MESSAGES, "max_tokens": 4, **formatted(schema)})
        assert "<path>" not in caught.value.message
        assert await client.is_healthy()

    async def test_tenants_do_not_share_a_prefix(self, engine: VllmEngine, client: EngineClient) -> None:
        """A prompt of another's is computed anew, so nobody can time what somebody else has asked (S17)."""
        long = [{"role": "user", "content": "river " * 300}]
        cached = []
        for salt in ("ann", "ann", "ben"):
            answer = await whole(engine, client, {"messages": long, "max_tokens": 1, "cache_salt": salt * 10})
            cached.append(answer["usage"]["prompt_tokens_details"]["cached_tokens"])
        assert cached[0] == cached[2] == 0
        assert cached[1] > 0

    async def test_nobody_forges_a_turn(self, engine: VllmEngine, client: EngineClient) -> None:
        """As many turn marks as there are turns, whatever the texts are (S27)."""
        messages = engine.chat_call({"messages": FORGED}).body["messages"]
        async with client._session.post("http://engine/tokenize", json={"messages": messages}) as response:
            tokens = (await response.json())["tokens"]
        begin, end = 1, 2
        assert (tokens.count(begin), tokens.count(end)) == (len(FORGED) + 1, len(FORGED))

    async def test_a_killed_core_ends_all_of_it(self, engine: VllmEngine) -> None:
        family = family_of(engine)
        (core,) = (process for process in family if "EngineCore" in " ".join(process.cmdline()))
        core.kill()
        told = await engine.wait_exit()
        assert told.endswith(" Its log engine-demo.log says more.")
        assert await all_gone(family)
        await engine.stop()
        await engine.start()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedder(vllm_models: Path, vllm_python: Path, module_run_dir: Path) -> AsyncIterator[Engine]:
    embedder = await make(vllm_models, vllm_python, module_run_dir, vllm("second", embedding=True))
    await embedder.start()
    yield embedder
    await embedder.stop()


@pytest.mark.asyncio(loop_scope="module")
class TestVllmEmbeddings(EmbeddingContract):
    @pytest.fixture
    def engine(self, embedder: Engine) -> Engine:
        return embedder

    @pytest.fixture
    def native(self) -> int:
        return 576

    @pytest_asyncio.fixture(loop_scope="module")
    async def client(self, engine: Engine) -> AsyncIterator[EngineClient]:  # type: ignore[override]  # it runs already
        assert isinstance(engine, VllmEngine)
        async with EngineClient(engine._connection) as client:
            yield client

    async def test_it_writes_no_text(self, engine: Engine) -> None:
        with pytest.raises(InvalidArgumentError, match="writes no text"):
            engine.chat_call({"messages": MESSAGES})


async def test_two_models_answer_and_survive_a_kill(
    redis: Redis, vllm_models: Path, vllm_python: Path, run_dir: Path
) -> None:
    """Both at once, then the first is killed in the middle of an answer, which goes on with the next one."""
    follower = LogFollower(redis)
    bench = Bench(redis, follower, launcher(vllm_models, vllm_python, run_dir))
    async with follower.running(), bench.worker() as running:
        with_tools = vllm("second", prompt_template=TEMPLATE_WITH_TOOLS)
        first, second = await asyncio.gather(bench.ask(vllm()), bench.ask(with_tools, stream=False))
        assert (first.end, second.end) == ("completed", "completed")
        assert len({engine_of(model).pid for model in running.models.all()}) == 2

        for choice, reasons in (("auto", {"length", "stop", "tool_calls"}), ("required", {"tool_calls"})):
            called = await bench.ask(with_tools, {"tools": TOOLS, "tool_choice": choice, "max_tokens": 60})
            assert called.end == "completed"
            assert called.events[-1].completed.finish_reason in reasons

        request = {"max_tokens": 60, "ignore_eos": True, "temperature": 0}
        uninterrupted = await bench.ask(vllm(), request)
        job_id = await bench.submit(vllm(), request)
        await bench.read(job_id, chunks=3)
        demo, _ = running.models.all()
        family = family_of(engine_of(demo))
        os.kill(family[1].pid, signal.SIGKILL)
        said = await bench.read(job_id)
        assert (said.text, said.end) == (uninterrupted.text, "completed")
        assert said.events[-1].completed == uninterrupted.events[-1].completed
        assert await all_gone(family)

        again, beside = await asyncio.gather(bench.ask(vllm()), bench.ask(with_tools))
        assert (again.end, beside.end) == ("completed", "completed")
        families = [family_of(engine_of(model)) for model in running.models.all()]
    assert await all_gone([process for family in families for process in family])


@pytest.mark.parametrize("title", ["VLLM::EngineCore", "VLLM::Worker"])
async def test_answers_survive_a_kill_of_the_processes_behind_the_server(
    redis: Redis, vllm_models: Path, vllm_python: Path, run_dir: Path, title: str
) -> None:
    """The server lives on for seconds and answers all with an error: one that speaks, a silent one, a new one."""
    follower = LogFollower(redis)
    bench = Bench(redis, follower, launcher(vllm_models, vllm_python, run_dir))
    request = {"max_tokens": 200, "ignore_eos": True, "temperature": 0}
    async with follower.running(), bench.worker() as running:
        uninterrupted = await bench.ask(vllm(), request)
        speaking = await bench.submit(vllm(), request)
        silent = await bench.submit(vllm(), request, stream=False)
        await bench.read(speaking, chunks=3)
        (model,) = running.models.all()
        family = family_of(engine_of(model))
        next(process for process in family if title in " ".join(process.cmdline())).kill()
        said, whole_one, new = await asyncio.gather(
            bench.read(speaking), bench.read(silent), bench.ask(vllm(), {"max_tokens": 3}, stream=False)
        )
        assert (said.text, said.end) == (uninterrupted.text, "completed")
        assert (whole_one.end, new.end) == ("completed", "completed")
        assert whole_one.chunks[0]["choices"][0]["message"]["content"] == uninterrupted.text
        assert await all_gone(family)


def engine_of(model: Model) -> VllmEngine:
    (copy,) = model.copies
    assert isinstance(copy.engine, VllmEngine)
    return copy.engine


async def test_an_adapter_is_a_model_of_its_own(vllm_models: Path, vllm_python: Path, run_dir: Path) -> None:
    spec = vllm("tuned", base_model="demo")
    spec.base.MergeFrom(BaseModel(id="demo", engine="vllm"))
    tuned = await make(vllm_models, vllm_python, run_dir, spec)
    async with EngineClient(await tuned.start()) as client:
        request = {"messages": MESSAGES, "max_tokens": 8, "temperature": 0}
        adapted = await whole(tuned, client, request)
        base = {**tuned.chat_call(request).body, "model": "model"}
        async with client.chat(base) as content:
            plain = json.loads(await content.read())
        assert adapted["choices"][0]["message"]["content"] != plain["choices"][0]["message"]["content"]
    shared = shared_by(family_of(tuned))
    assert shared
    await tuned.stop()
    assert not [*filter(Path.exists, shared), *(run_dir / "engines").glob("tmp-*")]


async def test_a_start_that_cannot_succeed_is_told_with_the_numbers(
    vllm_models: Path, vllm_python: Path, run_dir: Path
) -> None:
    engine = await make(vllm_models, vllm_python, run_dir, vllm(ctx_len=100_000))
    with pytest.raises(FailedPreconditionError) as caught:
        await engine.start()
    assert caught.value.message == (
        "ctx_len is 100000, but the model was made for at most 8192 tokens. Its log engine-demo.log says more."
    )
