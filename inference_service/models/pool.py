"""Every model this host was asked for: loaded by its first job, shared by all, unloaded to make room or when idle.

This is the door. Behind it: `registry.py` knows the models and devices, `changes.py` loads and unloads a model,
`copies.py` starts, watches and ends its engines, `waiting.py` holds those that wait for memory, and `planner.py` does
what `residency.plan` decides about it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager

from inference_service.devices.device import Device, Inventory
from inference_service.memory.planner import Planner
from inference_service.memory.residency import Phase, Policy, Resident
from inference_service.models.background import Background
from inference_service.models.changes import Changes
from inference_service.models.copies import Copies, EngineMaker
from inference_service.models.model import Model, ModelState, ModelStatus, RunningModel, same_engine
from inference_service.models.registry import Registry
from inference_service.models.waiting import WaitingList
from inference_service.models.watchers import Watch
from jan.errors import JanError
from jan.inference.configurations import key_of
from jan.inference.v1.jobs_pb2 import ModelSpec
from jan.queue.waits import Wait, WaitKind
from jan.telemetry import get_logger

logger = get_logger(__name__)

_CRASH_NOTICE_SECONDS = 0.5


class Models:
    """The models of this host; made by `open_models`."""

    def __init__(self, registry: Registry, changes: Changes, copies: Copies, background: Background) -> None:
        """See `open_models`."""
        self._registry = registry
        self._changes = changes
        self._copies = copies
        self._background = background

    def all(self) -> list[Model]:
        """Every model asked for since the start, in each of its configurations, by key."""
        return self._registry.all()

    def statuses(self) -> list[ModelStatus]:
        """What is told of every model asked for since the start, by id."""
        return self._registry.statuses()

    def slots(self, key: str) -> int:
        """How many jobs of this model, in one configuration, to hold at once."""
        model = self._registry.find(key)
        return model.slots if model else 1

    def serves(self, spec: ModelSpec) -> bool:
        """Whether a model answers now as `spec` describes it, so that a job need not wait for it."""
        model = self._registry.find(key_of(spec))
        return model is not None and model.serves(spec) and not model.closed

    def wait_for(self, spec: ModelSpec) -> Wait | None:
        """What a job waits for until its model answers; None when it does."""
        model = self._registry.find(key_of(spec))
        if model is None or self.serves(spec):
            return None
        status = model.status
        if status.state is ModelState.STARTING and not self._changes.awaits_memory(model):
            return Wait(WaitKind.LOADING, status.progress, status.activity)
        if status.state is ModelState.RUNNING and not status.activity:
            return Wait(WaitKind.WAITING, activity="waiting for answers to end, to be loaded with other settings")
        return Wait(WaitKind.WAITING, activity=status.activity)

    def closed(self) -> list[str]:
        """The keys of models that take no new jobs for now."""
        return [model.key for model in self._registry.all() if model.closed]

    def loaded_ctx_tokens(self, spec: ModelSpec) -> int | None:
        """The context of a model that is loaded just so, None for others and for remote ones."""
        model = self._registry.find(key_of(spec))
        if model is None or not same_engine(model.spec, spec):
            return None
        return next((copy.engine.ctx_len for copy in model.running if copy.engine is not None), None)

    def running(self) -> set[str]:
        """The keys of models in this host's memory that answer and take jobs; those that sleep there soon would."""
        return {
            model.key
            for model in self._registry.all()
            if model.residents() and (model.running or model.sleeper) and not model.closed
        }

    def loading(self) -> set[str]:
        """The keys of models that have their place in this host's memory, and do not answer yet."""
        return {
            model.key
            for model in self._registry.all()
            if model.state is ModelState.STARTING and any(found.phase is Phase.LOADING for found in model.residents())
        }

    def residents(self) -> tuple[Resident, ...]:
        """Every copy that holds memory of this host."""
        return self._registry.residents()

    async def devices(self) -> tuple[Device, ...]:
        """The devices of this host, as they were a moment ago."""
        return await self._registry.devices()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever a model may have room that it had not before."""
        self._registry.on_change(listener)

    def watching(self) -> AbstractContextManager[Watch]:
        """The status of every model, then each change; None at the end (`Watchers.watching`)."""
        return self._registry.watchers.watching(self.statuses())

    def dismiss_watchers(self) -> None:
        """Let those go who watch, and those who come: the service is about to end."""
        self._registry.watchers.dismiss_all()

    @asynccontextmanager
    async def use(self, spec: ModelSpec) -> AsyncIterator[RunningModel]:
        """Hold a model for one job, loading it first when it does not run as `spec` describes it.

        A model in use is reloaded only when its last job is done. Raises JanError: why it cannot be loaded.
        """
        model = await self._changes.bring_up(spec)
        copy = model.least_busy()
        assert copy.engine is not None
        assert copy.client is not None
        copy.users += 1
        if model.users >= model.slots:
            self._registry.look.set()  # one more copy may help
        try:
            yield RunningModel(model, copy, copy.engine, copy.client)
        finally:
            copy.users -= 1
            copy.last_used = self._registry.monotonic()
            await self._registry.notify()

    async def start(self, spec: ModelSpec) -> ModelStatus:
        """Load a model as a job would, and return when it runs. Raises JanError: why it cannot be loaded."""
        return (await self._changes.bring_up(spec)).status

    async def start_soon(self, spec: ModelSpec) -> ModelStatus:
        """Begin to load a model; how that ends is told by its status."""

        async def starting() -> None:
            with contextlib.suppress(JanError):
                await self._changes.bring_up(spec)

        model = self._registry.model(key_of(spec))
        if model.change is None and not model.serves(spec):
            self._changes.begin(model, spec)
        else:
            self._background.start(starting, f"start-{spec.id}")
        await asyncio.sleep(0)  # let it begin
        return model.status

    async def stop(self, model_id: str) -> ModelStatus:
        """Unload a model once the answers that it writes are whole; a load under way is broken off.

        Returns when it is at rest. A job that comes meanwhile or later loads it again; those that waited for the load
        are failed.
        """
        models = [model for model in self.all() if model.id == model_id] or [self._registry.model(model_id)]
        await asyncio.gather(*map(self._changes.bring_to_rest, models))
        return self._registry.status_of(model_id)

    async def notice_crash(self, running: RunningModel, *, is_dead: bool = False) -> bool:
        """Wait a moment for an engine that broke off to be seen as dead, so that the next job does not ask it too.

        is_dead: it has said so. If it is ours it is not waited for, but ended. Returns whether it was ours and is dead.
        """
        if is_dead and running.engine.is_local:
            self._copies.give_up(running.model, running.copy)
            await self._registry.until(lambda: running.copy not in running.model.copies)
            return True
        try:
            async with asyncio.timeout(_CRASH_NOTICE_SECONDS):
                await self._registry.until(lambda: running.copy not in running.model.copies)
        except TimeoutError:
            logger.warning("an engine broke off an answer but lives", model=running.model.id)
            return False
        return running.engine.is_local

    async def close(self) -> None:
        """Stop every engine, also those that are still starting."""
        self.dismiss_watchers()
        await self._changes.close()


@asynccontextmanager
async def open_models(
    maker: EngineMaker, inventory: Inventory, policy: Policy, *, monotonic: Callable[[], float] = time.monotonic
) -> AsyncIterator[Models]:
    """The models of this host, on the devices of `inventory`; every engine is stopped at the end."""
    async with asyncio.TaskGroup() as tasks:
        registry = Registry(inventory, monotonic)
        waiting = WaitingList(registry)
        background = Background(tasks)
        copies = Copies(maker, registry, background)
        changes = Changes(maker, registry, waiting, copies, background)
        planner = Planner(registry, waiting, changes, copies, background, policy=policy)
        planning = background.start(planner.run, "placement")
        models = Models(registry, changes, copies, background)
        try:
            yield models
        finally:
            planning.cancel()
            await models.close()
