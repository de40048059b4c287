"""The whole service as a process of its own, with real Redis and llama.cpp."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from jan import keys, rpc
from jan.inference.v1 import control_pb2, control_pb2_grpc
from jan.inference.v1.jobs_pb2 import ModelSpec
from jan.queue.follower import LogFollower
from jan.queue.leases import LeaseKind
from jan.redis import connect
from tests.fixtures.redis import RedisServer
from tests.inference_service.bench import Bench, demo, launcher

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server that the test may kill."""
    with tempfile.TemporaryDirectory(prefix="jan-redis-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()


class Service:
    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self.process = process
        self.address = address

    async def statuses(self) -> list[control_pb2.ModelStatus]:
        async with rpc.open_channel(self.address) as channel:
            stub = control_pb2_grpc.ControlServiceStub(channel)
            answer = await rpc.call(stub.ListModelStatuses, control_pb2.ListModelStatusesRequest())
        return list(answer.models)

    async def until_state(self, model_id: str, *states: control_pb2.ModelState.ValueType) -> None:
        """Wait until a model is in one of the states."""
        async with rpc.open_channel(self.address) as channel:
            watching = control_pb2_grpc.ControlServiceStub(channel).WatchModels(control_pb2.WatchModelsRequest())
            async for change in watching:
                if change.status.model_id == model_id and change.status.state in states:
                    watching.cancel()
                    return
        raise AssertionError("the service left")

    async def until_serving(self) -> None:
        async with rpc.open_channel(self.address) as channel:
            while not await rpc.is_serving(channel):
                assert self.process.returncode is None
                await asyncio.sleep(0.05)


@asynccontextmanager
async def service(own_redis: RedisServer, models_dir: Path, run_dir: Path, **settings: str) -> AsyncIterator[Service]:
    address = f"unix:{run_dir}/inference_service.sock"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "JANROOT_PATH": str(models_dir.parent),
        "JANROOT_RUN_DIR": str(run_dir),
        "JANROOT_REDIS_URL": own_redis.url,
        **settings,
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "inference_service", env=environment)
    try:
        running = Service(process, address)
        await running.until_serving()
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def gateway(own_redis: RedisServer, models_dir: Path, run_dir: Path) -> AsyncIterator[Bench]:
    """The gateway's side of the queue."""
    async with connect(own_redis.url) as redis:
        follower = LogFollower(redis)
        async with follower.running():
            yield Bench(redis, follower, launcher(models_dir, run_dir))


async def test_answers_and_drains(own_redis: RedisServer, models_dir: Path, run_dir: Path) -> None:
    async with service(own_redis, models_dir, run_dir) as running, gateway(own_redis, models_dir, run_dir) as bench:
        assert (run_dir / "inference_service.pid").read_text().strip() == str(running.process.pid)
        assert await running.statuses() == []
        assert (await bench.ask(demo(), {"temperature": 0})).end == "completed"
        (status,) = await running.statuses()
        assert (status.model_id, status.state) == ("demo", control_pb2.MODEL_STATE_RUNNING)
        engines = psutil.Process(running.process.pid).children()
        begun = await bench.submit(demo(), {"temperature": 0, "max_tokens": 40})
        await bench.read(begun, chunks=2)
        running.process.terminate()
        assert (await bench.read(begun)).end == "completed"
        assert await running.process.wait() == 0
        assert not any(engine.is_running() for engine in engines)


async def test_engines_start_while_calls_are_open(own_redis: RedisServer, models_dir: Path, run_dir: Path) -> None:
    """An open call once made gRPC's fork handlers crash the engine between fork and exec."""
    async with service(own_redis, models_dir, run_dir) as running, rpc.open_channel(running.address) as channel:
        stub = control_pb2_grpc.ControlServiceStub(channel)
        watching = stub.WatchModels(control_pb2.WatchModelsRequest())
        for _ in range(4):
            request = control_pb2.StartModelRequest(model=demo(), wait=True)
            started = await rpc.call(stub.StartModel, request, deadline_seconds=50)
            assert started.status.state == control_pb2.MODEL_STATE_RUNNING
            await rpc.call(stub.StopModel, control_pb2.StopModelRequest(model_id="demo"), deadline_seconds=50)
        watching.cancel()


async def test_killed_it_leaves_no_engine_and_the_next_one_takes_over(
    own_redis: RedisServer, models_dir: Path, run_dir: Path
) -> None:
    async with gateway(own_redis, models_dir, run_dir) as bench:
        async with service(own_redis, models_dir, run_dir) as running:
            await bench.ask(demo(), {"temperature": 0})
            engines = psutil.Process(running.process.pid).children()
            assert engines
            running.process.send_signal(signal.SIGKILL)
            await running.process.wait()
            await asyncio.to_thread(psutil.wait_procs, engines, timeout=10)
            assert not any(e.is_running() and e.status() != psutil.STATUS_ZOMBIE for e in engines)
        async with service(own_redis, models_dir, run_dir):
            assert (await bench.ask(demo(), {"temperature": 0})).end == "completed"


async def test_it_survives_a_restart_of_redis(own_redis: RedisServer, models_dir: Path, run_dir: Path) -> None:
    async with service(own_redis, models_dir, run_dir) as running:
        async with gateway(own_redis, models_dir, run_dir) as bench:
            begun = await bench.submit(demo(), {"temperature": 0, "max_tokens": 120})
            await bench.read(begun, chunks=3)
            await asyncio.to_thread(own_redis.kill)
            await asyncio.to_thread(own_redis.start)
            said = await bench.read(begun)
            assert said.end == "completed"
            assert said.events[-1].completed.usage.completion_tokens >= len(said.chunks) - 2
            assert (await bench.ask(demo(), {"temperature": 0})).end == "completed"
        assert running.process.returncode is None


async def test_two_services_share_a_queue_and_only_one_has_the_weights(
    own_redis: RedisServer, models_dir: Path, run_dir: Path, tmp_path: Path
) -> None:
    """The one without is started first, and takes the first job."""
    async with gateway(own_redis, models_dir, run_dir) as bench:
        with tempfile.TemporaryDirectory(prefix="jan-run-") as other_run_dir:
            async with service(own_redis, tmp_path / "nothing" / "models", Path(other_run_dir)) as without:
                said = await bench.ask(demo())
                assert (said.end, said.error.code) == ("failed", "model_file_missing")
                async with service(own_redis, models_dir, run_dir) as able:
                    await bench.until_hosts(2)
                    jobs = [await bench.submit(demo(), tenant=str(number)) for number in range(4)]
                    assert [(await bench.read(job)).end for job in jobs] == ["completed"] * 4
                    (status,) = await able.statuses()
                    assert status.state == control_pb2.MODEL_STATE_RUNNING
                    able.process.terminate()
                    assert await able.process.wait() == 0
                said = await bench.ask(demo())
                assert (said.end, said.error.code) == ("failed", "model_file_missing")
                assert without.process.returncode is None


def second() -> ModelSpec:
    """The demo model under another name."""
    spec = demo()
    spec.id, spec.folder = "second", "models/demo"
    return spec


@pytest.mark.parametrize("moment", ["loading", "evicting", "waiting"])
async def test_sigterm_under_load_hands_back_what_waits_and_leaves_no_engine(
    own_redis: RedisServer, models_dir: Path, run_dir: Path, moment: str
) -> None:
    limits = {"JANROOT_MAX_LOADED_MODELS": "1", "JANROOT_MIN_RESIDENCY_SECONDS": "0"}
    async with gateway(own_redis, models_dir, run_dir) as bench:
        async with service(own_redis, models_dir, run_dir, **limits) as running:
            if moment == "loading":
                jobs = [await bench.submit(spec, tenant=tenant) for spec in (demo(), second()) for tenant in "abc"]
                await running.until_state("demo", control_pb2.MODEL_STATE_STARTING, control_pb2.MODEL_STATE_RUNNING)
            elif moment == "evicting":
                assert (await bench.ask(demo())).end == "completed"
                gone = running.until_state("demo", control_pb2.MODEL_STATE_STOPPING, control_pb2.MODEL_STATE_READY)
                evicting = asyncio.create_task(gone)
                jobs = [await bench.submit(second(), tenant=tenant) for tenant in "abc"]
                await evicting
            else:
                jobs = [await bench.submit(demo(), {"max_tokens": 60}, tenant=tenant) for tenant in "abcdef"]
                jobs += [await bench.submit(second(), tenant=tenant) for tenant in "abc"]
                await bench.read(jobs[0], chunks=3)
            running.process.terminate()
            async with asyncio.timeout(45):  # it would be killed after 40 s
                assert await running.process.wait() == 0
            assert not [process.cmdline() for process in psutil.process_iter() if _is_below(process, run_dir)]
            held = await bench.redis.hgetall(keys.leases(LeaseKind.JOB))
            assert held == {}
        async with service(own_redis, models_dir, run_dir, **limits):
            assert {(await bench.read(job)).end for job in jobs} == {"completed"}


def _is_below(process: psutil.Process, run_dir: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(str(run_dir) in word for word in process.cmdline())
    return False
