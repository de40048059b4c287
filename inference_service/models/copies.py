"""The loaded copies of models, each an engine: started, measured, watched until it crashes, ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Protocol

from inference_service.devices.device import Device, DeviceKind
from inference_service.engines.client import EngineClient
from inference_service.engines.engine import Engine
from inference_service.engines.model_settings import with_settings
from inference_service.engines.process import ENGINE_CRASHED
from inference_service.memory.assess import Assessment
from inference_service.memory.placement import Demand, Placement
from inference_service.memory.residency import Phase
from inference_service.models.background import Background
from inference_service.models.model import Copy, Model, ModelState
from inference_service.models.registry import Registry
from inference_service.models.sleeping import sleep_places
from jan.errors import InternalError, JanError, UnavailableError
from jan.inference.v1.jobs_pb2 import ModelSpec
from jan.telemetry import get_logger

logger = get_logger(__name__)

_PROGRESS_SECONDS = 0.25


class EngineMaker(Protocol):
    """What `engines.launcher.Launcher` does."""

    async def assess(self, spec: ModelSpec, devices: Sequence[Device]) -> Assessment:
        """What the model needs of this host with those devices. Raises JanError: why it cannot be run here."""

    async def make(self, spec: ModelSpec, placement: Placement | None, copy: int) -> Engine:
        """An engine for one copy of the model, not started yet. Raises JanError: why there is none."""

    async def learn(self, demand: Demand, measured_bytes: int, devices: int) -> None:
        """Remember what loading a copy really took of so many devices together."""


class Copies:
    """Starts and ends copies whose place is decided."""

    def __init__(self, maker: EngineMaker, registry: Registry, background: Background) -> None:
        """`background` is for what goes on beside a running copy."""
        self._maker = maker
        self._registry = registry
        self._background = background

    async def start(self, model: Model, copy: Copy, spec: ModelSpec, warnings: tuple[str, ...]) -> None:
        """Start the engine of a copy that has its place; without a trace when that fails."""
        begun = self._registry.monotonic()
        try:
            if model.demand is not None and model.demand.reduced_ctx_tokens:
                spec = with_settings(spec, ctx_len=model.demand.reduced_ctx_tokens)
            engine = copy.engine = await self._maker.make(spec, copy.placement, copy.number)
            model.warnings = (*warnings, *engine.warnings)
            async with self._reporting(model, engine):
                copy.client = EngineClient(await engine.start())
        except BaseException:
            await self.end(model, copy)
            raise
        if copy not in model.copies:  # unloaded again before it was there
            await copy.client.close()
            await engine.stop()
            raise UnavailableError(f"Model {model.id} was unloaded.", code="model_stopped", retry_after_seconds=1)
        now = self._registry.monotonic()
        copy.phase, copy.loaded_at, copy.last_used, copy.load_seconds = Phase.RUNNING, now, now, now - begun
        if engine.sleeper is not None and copy.placement is not None and model.demand is not None:
            copy.places = sleep_places(copy.placement, model.demand.footprint, self._registry.known_devices)
        out_of_sight = InternalError(f"The server failed while it watched the engine of model {model.id}.")
        copy.watch = self._background.start(
            partial(self._watch, model, copy, engine),
            f"watch-{model.id}",
            after_failure=partial(self._lose, model, copy, out_of_sight),
        )
        copy.measuring = self._background.start(partial(self._measure, model, copy, engine), f"measure-{model.id}")

    async def end(self, model: Model, copy: Copy) -> None:
        """End the engine of a copy; its memory counts as held until the process has ended."""
        copy.phase = Phase.STOPPING
        if copy.watch is not None:
            copy.watch.cancel()
        async with AsyncExitStack() as steps:  # each is done, whatever becomes of the others, the last one first
            steps.push_async_callback(self._registry.notify)
            steps.callback(model.drop, copy)
            if copy.engine is not None:
                steps.push_async_callback(copy.engine.stop)
            if copy.client is not None:
                steps.push_async_callback(copy.client.close)
            if copy.measuring is not None:
                await asyncio.wait({copy.measuring})

    def give_up(self, model: Model, copy: Copy) -> None:
        """Take an engine that says of itself that it is dead for crashed: its end is brought about, not waited for."""
        if copy.phase is not Phase.RUNNING or copy.is_dead:
            return
        copy.is_dead = True
        if copy.watch is not None:
            copy.watch.cancel()
        how = UnavailableError("The engine's core ended.", code=ENGINE_CRASHED, retry_after_seconds=1)
        copy.watch = self._background.start(partial(self._lose, model, copy, how), f"give-up-{model.id}")

    async def end_all(self, model: Model) -> None:
        """Unload a model: end every copy of it, also when one of them cannot be ended as it should."""
        if model.state is not ModelState.STOPPING:  # it would not fall asleep
            model.enter(ModelState.STOPPING)
        model.spec = model.demand = None
        for copy in model.copies:
            copy.phase = Phase.STOPPING
        ends = await asyncio.gather(*(self.end(model, copy) for copy in model.copies), return_exceptions=True)
        for defect in filter(None, ends):
            raise defect
        model.enter(ModelState.READY)
        await self._registry.notify()

    async def lay_down(self, model: Model) -> bool:
        """Send a model's one copy to sleep. False when it does not fall asleep, and is to be ended."""
        (copy,) = model.copies
        engine, client, places = copy.engine, copy.client, copy.places
        if engine is None or engine.sleeper is None or client is None or places is None:
            return False
        model.enter(ModelState.STOPPING)
        model.report("falling asleep")
        copy.phase, copy.placement = Phase.STOPPING, places.between
        try:
            if copy.measuring is not None:
                await asyncio.wait({copy.measuring})  # it would find too little
            sleeps = await self._turned(copy, engine.sleeper.sleep(client))
            if sleeps and engine.pid is not None:
                left_bytes = await asyncio.to_thread(self._registry.inventory.measure, engine.pid, DeviceKind.GPU)
                copy.places = places.measured(left_bytes)
        except BaseException:
            await self.end(model, copy)
            raise
        if sleeps:
            copy.rest()
            model.enter(ModelState.READY)
        return sleeps

    async def wake(self, model: Model, copy: Copy) -> bool:
        """Wake a copy that has its place on the GPUs. False when it does not wake; it has ended then."""
        assert copy.engine is not None
        assert copy.engine.sleeper is not None
        assert copy.client is not None
        assert copy.places is not None
        begun = self._registry.monotonic()
        model.report("waking")
        try:
            is_awake = await self._turned(copy, copy.engine.sleeper.wake(copy.client))
        except BaseException:
            await self.end(model, copy)
            raise
        if not is_awake:
            await self.end(model, copy)
            return False
        now = self._registry.monotonic()
        copy.phase, copy.loaded_at, copy.last_used, copy.load_seconds = Phase.RUNNING, now, now, now - begun
        copy.placement = copy.places.awake
        return True

    async def end_asleep(self, model: Model) -> None:
        """End the copy that sleeps, if there is one."""
        if (copy := model.sleeper) is not None:
            await self.end(model, copy)

    @staticmethod
    async def _turned(copy: Copy, turning: Awaitable[None]) -> bool:
        """Whether a copy fell asleep or woke, and lives."""
        try:
            await turning
        except JanError as error:
            logger.warning("an engine neither sleeps nor wakes", reason=error.message)
            return False
        return copy.watch is not None and not copy.watch.done()

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
        task = self._background.start(report, f"progress-{model.id}")
        try:
            yield
        finally:
            task.cancel()

    async def _measure(self, model: Model, copy: Copy, engine: Engine) -> None:
        """Compare what loading took with what was estimated, for the next time."""
        demand, placement = model.demand, copy.placement  # the model may be unloaded meanwhile
        if demand is None or placement is None or engine.pid is None:
            return
        kind = DeviceKind.GPU if placement.on_gpu else DeviceKind.CPU
        measured_bytes = await asyncio.to_thread(self._registry.inventory.measure, engine.pid, kind)
        if measured_bytes:
            await self._maker.learn(demand, measured_bytes, len(placement.shares))

    async def _watch(self, model: Model, copy: Copy, engine: Engine) -> None:
        """Note the crash of a running engine."""
        how = await engine.wait_exit()
        await self._lose(model, copy, UnavailableError(how, code=ENGINE_CRASHED, retry_after_seconds=1))

    async def _lose(self, model: Model, copy: Copy, error: JanError) -> None:
        """Give up a copy that crashed or cannot be watched, unless it is being unloaded."""
        async with AsyncExitStack() as steps:
            if copy.client is not None:
                steps.push_async_callback(copy.client.close)
            steps.push_async_callback(self._registry.notify)
            steps.callback(self._forget_lost, model, copy, error)
            if copy.engine is not None:
                await copy.engine.stop()  # first, because a new engine of this model will listen on the same socket

    @staticmethod
    def _forget_lost(model: Model, copy: Copy, error: JanError) -> None:
        if copy.phase in (Phase.RUNNING, Phase.SLEEPING) and copy in model.copies:
            model.lose(copy, error)
