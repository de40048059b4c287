"""Every model this host was asked for: loaded by its first job, shared by all, unloaded to make room or when idle.

Who is loaded, where and at whose cost is decided in `residency.plan`; here it is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

from inference_service.assess import Assessment
from inference_service.devices.device import Device, DeviceKind, Inventory
from inference_service.engines.client import EngineClient
from inference_service.engines.engine import Engine
from inference_service.model import Change, Copy, Model, ModelState, ModelStatus, RunningModel, same_engine
from inference_service.placement import Demand, Placement
from inference_service.residency import Phase, Plan, Policy, Resident, State, Want, plan
from jan.errors import FailedPreconditionError, InternalError, JanError, UnavailableError
from jan.inference.v1.jobs_pb2 import ModelSpec
from jan.telemetry import get_logger

logger = get_logger(__name__)

_FIRST_BACKOFF_SECONDS = 0.25
_MOST_BACKOFF_SECONDS = 8.0
_CRASH_NOTICE_SECONDS = 0.5
_INVENTORY_SECONDS = 1.0  # how old the figures of the devices may be
_PROGRESS_SECONDS = 0.25
_MOST_WATCHED = 1_000  # changes that a watcher may lag behind


class EngineMaker(Protocol):
    """What `engines.launcher.Launcher` does."""

    async def assess(self, spec: ModelSpec) -> Assessment:
        """What the model needs of this host. Raises JanError: why it cannot be run here."""

    async def make(self, spec: ModelSpec, placement: Placement | None) -> Engine:
        """An engine for one copy of the model, not started yet. Raises JanError: why there is none."""

    async def learn(self, demand: Demand, measured_bytes: int, devices: int) -> None:
        """Remember what loading a copy really took of so many devices together."""


class Models:
    """The models of this host; made by `open_models`."""

    def __init__(
        self,
        maker: EngineMaker,
        inventory: Inventory,
        policy: Policy,
        tasks: asyncio.TaskGroup,
        monotonic: Callable[[], float],
    ) -> None:
        """See `open_models`."""
        self._maker = maker
        self._inventory = inventory
        self._policy = policy
        self._tasks = tasks
        self._monotonic = monotonic
        self._models: dict[str, Model] = {}
        self._wants: dict[str, tuple[Want, asyncio.Future[Copy]]] = {}
        self._devices: tuple[Device, ...] = ()
        self._devices_at = -_INVENTORY_SECONDS
        self._changed = asyncio.Condition()
        self._look = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []
        self._watchers: set[asyncio.Queue[ModelStatus | None]] = set()
        self._leaving = False

    def all(self) -> list[Model]:
        """Every model asked for since the start, by id."""
        return [self._models[key] for key in sorted(self._models)]

    def slots(self, model_id: str) -> int:
        """How many jobs of this model to hold at once."""
        model = self._models.get(model_id)
        return model.slots if model else 1

    def closed(self) -> list[str]:
        """The models that take no new jobs for now."""
        return [model.id for model in self._models.values() if model.closed]

    def residents(self) -> tuple[Resident, ...]:
        """Every copy that holds memory of this host."""
        return tuple(resident for model in self.all() for resident in model.residents())

    async def devices(self) -> tuple[Device, ...]:
        """The devices of this host, as they were a moment ago."""
        if self._monotonic() >= self._devices_at + _INVENTORY_SECONDS:
            copies = [copy for model in self._models.values() for copy in model.copies]
            own = [copy.engine.pid for copy in copies if copy.engine is not None and copy.engine.pid is not None]
            self._devices = await asyncio.to_thread(self._inventory.devices, own)
            self._devices_at = self._monotonic()
        return self._devices

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever a model may have room that it had not before."""
        self._listeners.append(listener)

    @contextmanager
    def watching(self) -> Iterator[asyncio.Queue[ModelStatus | None]]:
        """The status of every model, then each change as it happens.

        None comes at the end of the service, and to a watcher that lags too far behind.
        """
        queue: asyncio.Queue[ModelStatus | None] = asyncio.Queue(_MOST_WATCHED + len(self._models))
        self._watchers.add(queue)
        for model in self.all():
            queue.put_nowait(model.status)
        if self._leaving:
            self._dismiss(queue)
        try:
            yield queue
        finally:
            self._watchers.discard(queue)

    def dismiss_watchers(self) -> None:
        """Let those go who watch, and those who come: the service is about to end."""
        self._leaving = True
        for queue in list(self._watchers):
            self._dismiss(queue)

    @asynccontextmanager
    async def use(self, spec: ModelSpec) -> AsyncIterator[RunningModel]:
        """Hold a model for one job, loading it first when it does not run as `spec` describes it.

        A model in use is reloaded only when its last job is done. Raises JanError: why it cannot be loaded.
        """
        model = await self._bring_up(spec)
        copy = model.least_busy()
        assert copy.engine is not None
        assert copy.client is not None
        copy.users += 1
        if model.users >= model.slots:
            self._look.set()  # one more copy may help
        try:
            yield RunningModel(model, copy, copy.engine, copy.client)
        finally:
            copy.users -= 1
            copy.last_used = self._monotonic()
            await self._notify()

    async def start(self, spec: ModelSpec) -> ModelStatus:
        """Load a model as a job would, and return when it runs. Raises JanError: why it cannot be loaded."""
        return (await self._bring_up(spec)).status

    async def start_soon(self, spec: ModelSpec) -> ModelStatus:
        """Begin to load a model; how that ends is told by its status."""

        async def starting() -> None:
            with contextlib.suppress(JanError):
                await self._bring_up(spec)

        model = self._model(spec.id)
        if model.change is None and not model.serves(spec):
            self._begin(model, spec)
        else:
            self._tasks.create_task(starting(), name=f"start-{spec.id}")
        await asyncio.sleep(0)  # let it begin
        return model.status

    async def stop(self, model_id: str) -> ModelStatus:
        """Unload a model once the answers that it writes are whole; a load under way is broken off.

        Returns when it is at rest. A job that comes meanwhile or later loads it again; those that waited for the load
        are failed.
        """
        model = self._model(model_id)
        while model.change is not None or model.copies:
            change = model.change or self._begin(model, None)
            if change.wanted is None:
                await change.ended()
            elif model.state is ModelState.STOPPING:  # on the way to a reload: an unload is never broken off
                async with self._changed:
                    await self._changed.wait_for(lambda: model.state is not ModelState.STOPPING)
            else:
                change.outcome = FailedPreconditionError(f"Model {model_id} was stopped.", code="model_stopped")
                await change.break_off()
        return model.status

    async def notice_crash(self, running: RunningModel) -> None:
        """Wait a moment for an engine that broke off to be seen as dead, so that the next job does not ask it too."""
        try:
            async with asyncio.timeout(_CRASH_NOTICE_SECONDS), self._changed:
                await self._changed.wait_for(lambda: running.copy not in running.model.copies)
        except TimeoutError:
            logger.warning("an engine broke off an answer but lives", model=running.model.id)

    async def tend(self) -> None:
        """Plan and act, whenever something has changed or time has passed; never returns."""
        while True:
            self._look.clear()
            devices = await self.devices() if self._wants or not self._devices else self._devices
            now = self._monotonic()
            waiting = [want for want, granted in self._wants.values() if not granted.done()]
            wants = waiting + self._extra_wants(now)
            made = plan(State(devices, self.residents(), self._policy, now), wants)
            await self._act(made)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if made.look_again_at is None else made.look_again_at - now):
                    await self._look.wait()

    async def close(self) -> None:
        """Stop every engine, also those that are still starting."""
        self.dismiss_watchers()
        for model in self._models.values():
            if model.change is not None:
                await model.change.break_off()
        await asyncio.gather(*(self._unload(model) for model in self._models.values() if model.copies))

    def _model(self, model_id: str) -> Model:
        return self._models.setdefault(model_id, Model(model_id, self._tell))

    def _tell(self, status: ModelStatus) -> None:
        for queue in list(self._watchers):
            try:
                queue.put_nowait(status)
            except asyncio.QueueFull:
                self._dismiss(queue)

    def _dismiss(self, queue: asyncio.Queue[ModelStatus | None]) -> None:
        self._watchers.discard(queue)
        if queue.full():
            queue.get_nowait()
        queue.put_nowait(None)

    async def _bring_up(self, spec: ModelSpec) -> Model:
        """Return when the model serves `spec`. All who wait share one change, which outlives each of them."""
        model = self._model(spec.id)
        while not model.serves(spec) or model.closed:
            if model.serves(spec):
                async with self._changed:
                    await self._changed.wait_for(lambda: not model.closed or not model.serves(spec))
                continue
            change = model.change or self._begin(model, spec)
            await change.ended()
            if change.outcome is not None and same_engine(change.wanted, spec):
                raise JanError.from_detail(change.outcome.to_detail())
        return model

    def _begin(self, model: Model, wanted: ModelSpec | None) -> Change:
        """Begin to load what is wanted, after unloading what runs; or only to unload."""
        change = Change(wanted)

        async def changing() -> None:
            try:
                await (self._retire(model) if wanted is None else self._replace(model, wanted, change))
            finally:
                model.change = None
                await self._notify()

        model.change = change
        change.task = self._tasks.create_task(changing(), name=f"model-{model.id}")
        return change

    async def _replace(self, model: Model, spec: ModelSpec, change: Change) -> None:
        """Unload what runs once it is idle, then load `spec`."""
        await self._retire(model)
        model.enter(ModelState.STARTING)
        try:
            await self._load(model, spec)
        except JanError as error:
            change.outcome = error
            model.fail(error)
        except asyncio.CancelledError:
            model.enter(ModelState.STOPPING)
            model.enter(ModelState.READY)
            raise
        except Exception:
            logger.exception("model failed to load", model=model.id)
            change.outcome = InternalError(f"Model {model.id} could not be loaded.")
            model.fail(change.outcome)

    async def _retire(self, model: Model) -> None:
        """Unload a model once it is idle; nobody new gets in, because a change is under way."""
        if model.users:
            async with self._changed:
                await self._changed.wait_for(lambda: model.users == 0)
        if model.copies:
            await self._unload(model)

    async def _load(self, model: Model, spec: ModelSpec) -> None:
        await asyncio.sleep(backoff_seconds(model.failures))
        assessment = await self._maker.assess(spec)
        model.hosting, model.demand = assessment.hosting, assessment.demand
        copy = model.new_copy(None) if assessment.demand is None else await self._place(model, assessment.demand)
        await self._start_copy(model, copy, spec, assessment.warnings)
        model.spec = spec
        model.enter(ModelState.RUNNING)

    async def _place(self, model: Model, demand: Demand) -> Copy:
        """Wait until the plan has room. Raises FailedPreconditionError: this host never has."""
        future: asyncio.Future[Copy] = asyncio.get_running_loop().create_future()
        self._wants[model.id] = Want(demand, self._monotonic()), future
        self._look.set()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                model.drop(future.result())
            raise
        finally:
            del self._wants[model.id]

    async def _start_copy(self, model: Model, copy: Copy, spec: ModelSpec, warnings: tuple[str, ...]) -> None:
        """Start the engine of a copy that has its place; without a trace when that fails."""
        begun = self._monotonic()
        try:
            engine = copy.engine = await self._maker.make(spec, copy.placement)
            model.warnings = (*warnings, *engine.warnings)
            async with self._reporting(model, engine):
                copy.client = EngineClient(await engine.start())
        except BaseException:
            model.drop(copy)
            await self._notify()
            raise
        if copy not in model.copies:  # unloaded again before it was there
            await copy.client.close()
            await engine.stop()
            raise UnavailableError(f"Model {model.id} was unloaded.", code="model_stopped", retry_after_seconds=1)
        now = self._monotonic()
        copy.phase, copy.loaded_at, copy.last_used, copy.load_seconds = Phase.RUNNING, now, now, now - begun
        copy.watch = self._tasks.create_task(self._watch_engine(model, copy, engine), name=f"watch-{model.id}")
        copy.measuring = self._tasks.create_task(self._learn(model, copy, engine), name=f"measure-{model.id}")

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

    async def _learn(self, model: Model, copy: Copy, engine: Engine) -> None:
        """Compare what loading took with what was estimated, for the next time."""
        demand = model.demand  # the model may be unloaded meanwhile
        if demand is None or copy.placement is None or engine.pid is None:
            return
        kind = DeviceKind.GPU if copy.placement.on_gpu else DeviceKind.CPU
        measured_bytes = await asyncio.to_thread(self._inventory.measure, engine.pid, kind)
        if measured_bytes:
            await self._maker.learn(demand, measured_bytes, len(copy.placement.shares))

    async def _watch_engine(self, model: Model, copy: Copy, engine: Engine) -> None:
        """Note the crash of a running engine."""
        how = await engine.wait_exit()
        await engine.stop()  # first, because a new engine of this model will listen on the same socket
        if copy not in model.copies:
            return
        model.drop(copy)
        if not model.copies:
            model.fail(UnavailableError(how, code="engine_crashed", retry_after_seconds=1))
        model.tell()
        await self._notify()
        if copy.client is not None:
            await copy.client.close()

    async def _unload(self, model: Model) -> None:
        """End every copy; memory counts as held until its process has ended."""
        model.enter(ModelState.STOPPING)
        model.spec = model.demand = None
        await asyncio.gather(*(self._end(model, copy) for copy in model.copies))
        model.enter(ModelState.READY)
        await self._notify()

    async def _end(self, model: Model, copy: Copy) -> None:
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
            await self._notify()

    def _extra_wants(self, now: float) -> list[Want]:
        """One more copy of each model that has no slot left, where GPUs might hold it."""
        if not any(device.kind is DeviceKind.GPU for device in self._devices):
            return []
        return [
            Want(model.demand, now, extra=True)
            for model in self.all()
            if model.demand is not None
            and model.change is None
            and model.users >= model.slots > 0
            and len(model.copies) == len(model.running) < model.hosting.replicas
        ]

    async def _act(self, made: Plan) -> None:
        """Do what the plan says; everything in it was decided on the state as it is now."""
        for model in self._models.values():
            model.close(made.closed.get(model.id, ""))
        for model_id in sorted({eviction.model_id for eviction in made.evictions}):
            evictions = [eviction for eviction in made.evictions if eviction.model_id == model_id]
            self._evict(self._models[model_id], {eviction.copy: eviction.why for eviction in evictions})
        for model_id, reason in made.refusals.items():
            message = f"There is not enough memory for model {model_id}: {reason}."
            self._wants[model_id][1].set_exception(FailedPreconditionError(message, code="insufficient_memory"))
        for model_id, why in made.waits.items():
            self._models[model_id].report(why)
        for model_id, placement in made.loads.items():
            self._grant(self._models[model_id], placement)
        await self._notify(look=False)

    def _evict(self, model: Model, reasons: dict[int, str]) -> None:
        """Unload some copies of a model, or the whole of it when no other copy stays."""
        logger.info("unloading", model=model.id, why=", ".join(reasons.values()))
        leaving = [copy for copy in model.running if copy.number in reasons]
        if all(copy in leaving or copy.phase is Phase.STOPPING for copy in model.copies):
            self._begin(model, None)
            return
        for copy in leaving:
            copy.phase = Phase.STOPPING
            self._tasks.create_task(self._end(model, copy), name=f"unload-{model.id}-{copy.number}")

    def _grant(self, model: Model, placement: Placement) -> None:
        """Give a copy its place: the memory is taken from this moment on."""
        logger.info("placed", model=model.id, why=placement.why)
        copy = model.new_copy(placement)
        if model.id in self._wants:
            self._wants[model.id][1].set_result(copy)
        else:
            self._tasks.create_task(self._start_extra(model, copy), name=f"copy-{model.id}-{copy.number}")

    async def _start_extra(self, model: Model, copy: Copy) -> None:
        """Start one more copy of a running model; if that fails, there will be no further ones until it is reloaded."""
        assert model.spec is not None
        try:
            await self._start_copy(model, copy, model.spec, ())
        except JanError as error:
            logger.warning("one more copy could not be started", model=model.id, reason=error.message)
            model.hosting = model.hosting.limited_to(len(model.copies))
        model.tell()
        await self._notify()

    async def _notify(self, *, look: bool = True) -> None:
        if look:
            self._look.set()
        async with self._changed:
            self._changed.notify_all()
        for listener in self._listeners:
            listener()


@asynccontextmanager
async def open_models(
    maker: EngineMaker, inventory: Inventory, policy: Policy, *, monotonic: Callable[[], float] = time.monotonic
) -> AsyncIterator[Models]:
    """The models of this host, on the devices of `inventory`; every engine is stopped at the end."""
    async with asyncio.TaskGroup() as tasks:
        models = Models(maker, inventory, policy, tasks, monotonic)
        tending = tasks.create_task(models.tend(), name="placement")
        try:
            yield models
        finally:
            tending.cancel()
            await models.close()


def backoff_seconds(failures: int) -> float:
    """How long to wait before a start, after so many failures in a row."""
    return min(_MOST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2 ** (failures - 1)) if failures else 0.0
