"""The loaded copies of models, each an engine: started, measured, watched until it crashes, ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from inference_service.assess import Assessment
from inference_service.devices.device import DeviceKind
from inference_service.engines.client import EngineClient
from inference_service.engines.engine import Engine
from inference_service.model import Copy, Model, ModelState
from inference_service.placement import Demand, Placement
from inference_service.registry import Registry
from inference_service.residency import Phase
from jan.errors import UnavailableError
from jan.inference.v1.jobs_pb2 import ModelSpec

_PROGRESS_SECONDS = 0.25


class EngineMaker(Protocol):
    """What `engines.launcher.Launcher` does."""

    async def assess(self, spec: ModelSpec) -> Assessment:
        """What the model needs of this host. Raises JanError: why it cannot be run here."""

    async def make(self, spec: ModelSpec, placement: Placement | None) -> Engine:
        """An engine for one copy of the model, not started yet. Raises JanError: why there is none."""

    async def learn(self, demand: Demand, measured_bytes: int, devices: int) -> None:
        """Remember what loading a copy really took of so many devices together."""


class Copies:
    """Starts and ends copies whose place is decided."""

    def __init__(self, maker: EngineMaker, registry: Registry, tasks: asyncio.TaskGroup) -> None:
        """`tasks` owns what goes on beside a running copy."""
        self._maker = maker
        self._registry = registry
        self._tasks = tasks

    async def start(self, model: Model, copy: Copy, spec: ModelSpec, warnings: tuple[str, ...]) -> None:
        """Start the engine of a copy that has its place; without a trace when that fails."""
        begun = self._registry.monotonic()
        try:
            engine = copy.engine = await self._maker.make(spec, copy.placement)
            model.warnings = (*warnings, *engine.warnings)
            async with self._reporting(model, engine):
                copy.client = EngineClient(await engine.start())
        except BaseException:
            model.drop(copy)
            await self._registry.notify()
            raise
        if copy not in model.copies:  # unloaded again before it was there
            await copy.client.close()
            await engine.stop()
            raise UnavailableError(f"Model {model.id} was unloaded.", code="model_stopped", retry_after_seconds=1)
        now = self._registry.monotonic()
        copy.phase, copy.loaded_at, copy.last_used, copy.load_seconds = Phase.RUNNING, now, now, now - begun
        copy.watch = self._tasks.create_task(self._watch(model, copy, engine), name=f"watch-{model.id}")
        copy.measuring = self._tasks.create_task(self._measure(model, copy, engine), name=f"measure-{model.id}")

    async def end(self, model: Model, copy: Copy) -> None:
        """End the engine of a copy; its memory counts as held until the process has ended."""
        copy.phase = Phase.STOPPING
        if copy.watch is not None:
            copy.watch.cancel()
        try:
            if copy.measuring is not None:
                await asyncio.wait({copy.measuring})
            if copy.client is not None:
                await copy.client.close()
            if copy.engine is not None:
                await copy.engine.stop()
        finally:
            model.drop(copy)
            await self._registry.notify()

    async def end_all(self, model: Model) -> None:
        """Unload a model: end every copy of it."""
        model.enter(ModelState.STOPPING)
        model.spec = model.demand = None
        await asyncio.gather(*(self.end(model, copy) for copy in model.copies))
        model.enter(ModelState.READY)
        await self._registry.notify()

    @asynccontextmanager
    async def _reporting(self, model: Model, engine: Engine) -> AsyncIterator[None]:
        """Tell how far loading has come, as far as the engine knows."""

        async def report() -> None:
            while True:
                await asyncio.sleep(_PROGRESS_SECONDS)
                part = await asyncio.to_thread(engine.progress)
                if part is not None and model.state is ModelState.STARTING:
                    model.report(engine.activity or f"loading weights {part:.0%}", round(part, 2))

        if model.state is ModelState.STARTING:
            model.report("loading weights")
        task = self._tasks.create_task(report(), name=f"progress-{model.id}")
        try:
            yield
        finally:
            task.cancel()

    async def _measure(self, model: Model, copy: Copy, engine: Engine) -> None:
        """Compare what loading took with what was estimated, for the next time."""
        demand = model.demand  # the model may be unloaded meanwhile
        if demand is None or copy.placement is None or engine.pid is None:
            return
        kind = DeviceKind.GPU if copy.placement.on_gpu else DeviceKind.CPU
        measured_bytes = await asyncio.to_thread(self._registry.inventory.measure, engine.pid, kind)
        if measured_bytes:
            await self._maker.learn(demand, measured_bytes, len(copy.placement.shares))

    async def _watch(self, model: Model, copy: Copy, engine: Engine) -> None:
        """Note the crash of a running engine."""
        how = await engine.wait_exit()
        await engine.stop()  # first, because a new engine of this model will listen on the same socket
        if copy not in model.copies:
            return
        model.drop(copy)
        if not model.copies:
            model.fail(UnavailableError(how, code="engine_crashed", retry_after_seconds=1))
        model.tell()
        await self._registry.notify()
        if copy.client is not None:
            await copy.client.close()
