"""A worker under test: real Redis, real queue, and readers for what its jobs say."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from inference_service.devices.device import Inventory
from inference_service.devices.host import HostInventory
from inference_service.engines.launcher import Launcher
from inference_service.jobs.worker import Worker
from inference_service.memory.measurements import Measurements
from inference_service.memory.residency import Policy
from inference_service.models.copies import EngineMaker
from inference_service.models.pool import Models, open_models
from inference_service.weights.files import WeightHomes
from jan import keys
from jan.ids import JobId
from jan.inference.v1 import jobs_pb2
from jan.queue.follower import LogFollower
from jan.queue.jobs import JobQueue
from jan.queue.scripts import Scripts

MESSAGES = [{"role": "user", "content": "Tell a long story of a river and its town."}]
LOAD_TIMEOUT = timedelta(seconds=50)


class Said:
    """What one job said, read from its log as a gateway reads it."""

    def __init__(self) -> None:
        self.events: list[jobs_pb2.JobEvent] = []

    @property
    def chunks(self) -> list[dict[str, Any]]:
        return [json.loads(event.chunk.data) for event in self.events if event.HasField("chunk")]

    @property
    def text(self) -> str:
        choices = [choice for chunk in self.chunks for choice in chunk["choices"]]
        return "".join(choice["delta"].get("content", "") for choice in choices)

    @property
    def end(self) -> str | None:
        """Which of the last events it was; None while there is none."""
        last = self.events[-1].WhichOneof("event") if self.events else None
        return None if last == "chunk" else last

    @property
    def error(self) -> Any:
        return self.events[-1].failed.error


class Bench:
    """Submits jobs, follows them, starts and stops workers."""

    def __init__(self, redis: Redis, follower: LogFollower, maker: EngineMaker, scripts: Scripts | None = None) -> None:
        """`scripts` are the queue's, for its workers too, when its time is to be the test's."""
        self.redis = redis
        self.scripts = scripts or Scripts.register(redis)
        self.queue = JobQueue(redis, self.scripts)
        self._follower = follower
        self._maker = maker

    @asynccontextmanager
    async def worker(
        self,
        *,
        lease_seconds: float = 8.0,
        drain_seconds: float = 20.0,
        most_loaded: int = 2,
        host: str = "here",
        inventory: Inventory | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> AsyncIterator[RunningWorker]:
        """`monotonic` is the clock by which it sees other hosts stand still."""
        policy = Policy(min_residency_seconds=0, patience_seconds=60, most_models=most_loaded)
        async with open_models(self._maker, inventory or HostInventory(), policy) as models:
            worker = Worker(
                self.redis,
                models,
                most_jobs=100,
                drain_time=timedelta(seconds=drain_seconds),
                lease_seconds=lease_seconds,
                host=host,
                monotonic=monotonic,
                scripts=self.scripts,
            )
            stop = asyncio.Event()
            task = asyncio.create_task(worker.run(stop), name="worker")
            try:
                yield RunningWorker(models, stop, task)
            finally:
                stop.set()
                await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            task.result()

    async def until_hosts(self, count: int) -> None:
        """Wait until so many engine hosts take jobs."""
        while await self.redis.hlen(keys.HOSTS) != count:
            pass

    async def submit(
        self,
        spec: jobs_pb2.ModelSpec,
        request: Mapping[str, Any] | None = None,
        *,
        stream: bool = True,
        raw_body: bytes | None = None,
        tenant: str = "ann",
        endpoint: jobs_pb2.Endpoint.ValueType = jobs_pb2.ENDPOINT_CHAT_COMPLETIONS,
        **fields: Any,
    ) -> str:
        body = {"model": spec.id, "messages": MESSAGES, "max_tokens": 5, **(request or {})}
        job = jobs_pb2.Job(
            id=JobId.new(),
            tenant=tenant,
            model=spec,
            endpoint=endpoint,
            body=json.dumps(body).encode() if raw_body is None else raw_body,
            stream=stream,
            response_id="chatcmpl-1",
            response_created=1_700_000_000,
            **fields,
        )
        assert await self.queue.submit(job)
        return job.id

    async def read(self, job_id: str, *, chunks: int | None = None) -> Said:
        """What the job said: to its end, or to so many chunks."""
        said = Said()
        async with self._follower.follow(job_id) as subscription:
            async for batch in subscription.batches(idle_seconds=1.0):
                said.events += [jobs_pb2.JobEvent.FromString(entry.payload) for entry in batch]
                if chunks is not None and len(said.chunks) >= chunks:
                    return said
        return said

    async def ask(self, spec: jobs_pb2.ModelSpec, request: Mapping[str, Any] | None = None, **fields: Any) -> Said:
        return await self.read(await self.submit(spec, request, **fields))


class RunningWorker:
    """A worker that runs, and its levers."""

    def __init__(self, models: Models, stop: asyncio.Event, task: asyncio.Task[None]) -> None:
        self.models = models
        self._stop = stop
        self._task = task

    async def drain(self) -> None:
        """As SIGTERM does; returns when it has drained."""
        self._stop.set()
        await self._task

    async def vanish(self) -> None:
        """End without a word, as SIGKILL does."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def launcher(models_dir: Path, run_dir: Path) -> Launcher:
    homes = WeightHomes(models_dir, models_dir.parent)
    return Launcher(homes, run_dir, LOAD_TIMEOUT, Measurements(run_dir / "measurements.json"))


def remote(scripted_url: str, **settings: object) -> jobs_pb2.ModelSpec:
    return jobs_pb2.ModelSpec(
        id="remote", engine="openai", format="api", source_url=scripted_url, settings_json=json.dumps(settings)
    )


def demo(**settings: object) -> jobs_pb2.ModelSpec:
    """The demo model as the fixture `models_dir` has it."""
    given = {"ctx_len": 1024, "n_parallel": 2, **settings}
    return jobs_pb2.ModelSpec(
        id="demo", engine="llamacpp", format="gguf", files=["demo.gguf"], settings_json=json.dumps(given)
    )
