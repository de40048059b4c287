"""The whole service as a process of its own, with real Redis and llama.cpp."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from jan import rpc
from jan.inference.v1 import control_pb2, control_pb2_grpc
from jan.queue.follower import LogFollower
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

    async def until_serving(self) -> None:
        async with rpc.open_channel(self.address) as channel:
            while not await rpc.is_serving(channel):
                assert self.process.returncode is None
                await asyncio.sleep(0.05)


@asynccontextmanager
async def service(own_redis: RedisServer, models_dir: Path, run_dir: Path) -> AsyncIterator[Service]:
    address = f"unix:{run_dir}/inference_service.sock"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "JANROOT_PATH": str(models_dir.parent),
        "JANROOT_RUN_DIR": str(run_dir),
        "JANROOT_REDIS_URL": own_redis.url,
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
