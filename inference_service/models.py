"""Every model this host was asked for: loaded by its first job, shared by all, unloaded to make room.

ready -> starting -> running -> stopping -> ready
|          |
+--> error +--> starting (by the next job, after a back-off)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from inference_service.engines.client import EngineClient
from inference_service.engines.engine import Engine
from inference_service.engines.model_settings import same_settings
from inference_service.placement import Loaded, victim
from jan.errors import InternalError, JanError, UnavailableError
from jan.inference.v1.jobs_pb2 import ModelSpec
from jan.telemetry import get_logger

logger = get_logger(__name__)

_FIRST_BACKOFF_SECONDS = 0.25
_MOST_BACKOFF_SECONDS = 8.0
_CRASH_NOTICE_SECONDS = 0.5


class ModelState(StrEnum):
    """Where a model is in its life on this host."""

    READY = "ready"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    ERROR = "error"


TRANSITIONS: Final[dict[ModelState, frozenset[ModelState]]] = {
    ModelState.READY: frozenset({ModelState.STARTING}),
    ModelState.STARTING: frozenset({ModelState.RUNNING, ModelState.ERROR, ModelState.STOPPING}),
    ModelState.RUNNING: frozenset({ModelState.STOPPING, ModelState.ERROR}),
    ModelState.STOPPING: frozenset({ModelState.READY}),
    ModelState.ERROR: frozenset({ModelState.STARTING}),
}


class EngineMaker(Protocol):
    """What `engines.launcher.Launcher` does."""

    async def make(self, spec: ModelSpec) -> Engine:
        """An engine for the model, not started yet. Raises JanError: why there is none."""


class Model:
    """One model: its state, and while it is loaded its engine."""

    def __init__(self, model_id: str) -> None:
        """A model at rest."""
        self.id = model_id
        self.state = ModelState.READY
        self.error: JanError | None = None
        self.warnings: tuple[str, ...] = ()
        self.engine: Engine | None = None
        self.client: EngineClient | None = None
        self.spec: ModelSpec | None = None
        """What the engine was made for."""
        self.users = 0
        """Jobs that hold it now."""
        self.last_used = 0.0
        self.failures = 0
        """Times in a row that its engine did not start or crashed."""
        self.change: asyncio.Task[None] | None = None
        """The load or unload under way: one at a time."""
        self.wanted: ModelSpec | None = None
        """What the change will bring."""
        self.watch: asyncio.Task[None] | None = None

    @property
    def slots(self) -> int:
        """How many jobs it can work on; one while that is unknown, enough to get it started."""
        return self.engine.slots if self.engine is not None and self.state is ModelState.RUNNING else 1

    @property
    def is_loaded(self) -> bool:
        """Whether it takes memory of this host."""
        return self.engine is not None and self.engine.is_local

    def serves(self, spec: ModelSpec) -> bool:
        """Whether it runs now, as `spec` describes it, and will go on to."""
        return self.change is None and self.state is ModelState.RUNNING and _same(self.spec, spec)

    def enter(self, state: ModelState, error: JanError | None = None) -> None:
        """Change state; `error` belongs to the error state."""
        assert state in TRANSITIONS[self.state], f"{self.state} -> {state}"
        self.state = state
        self.error = error
        logger.info("model state", model=self.id, state=str(state), error=error.message if error else None)

    def fail(self, error: JanError) -> None:
        """Enter the error state, without an engine. Only what may pass by itself makes the next start wait longer."""
        self.engine = self.client = self.spec = None
        self.failures += isinstance(error, UnavailableError)
        self.enter(ModelState.ERROR, error)


@dataclass(frozen=True, slots=True)
class RunningModel:
    """A loaded model, held for one job."""

    model: Model
    engine: Engine
    client: EngineClient

    def succeeded(self) -> None:
        """A job went through: earlier failures no longer count against the model."""
        self.model.failures = 0


class Models:
    """The models of this host; made by `open_models`."""

    def __init__(
        self, maker: EngineMaker, tasks: asyncio.TaskGroup, most_loaded: int, monotonic: Callable[[], float]
    ) -> None:
        """See `open_models`."""
        self._maker = maker
        self._tasks = tasks
        self._most_loaded = most_loaded
        self._monotonic = monotonic
        self._models: dict[str, Model] = {}
        self._changed = asyncio.Condition()
        self._listeners: list[Callable[[], None]] = []

    def all(self) -> list[Model]:
        """Every model asked for since the start, by id."""
        return [self._models[key] for key in sorted(self._models)]

    def slots(self, model_id: str) -> int:
        """How many jobs of this model to hold at once."""
        model = self._models.get(model_id)
        return model.slots if model else 1

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever a model may have room that it had not before."""
        self._listeners.append(listener)

    @asynccontextmanager
    async def use(self, spec: ModelSpec) -> AsyncIterator[RunningModel]:
        """Hold a model for one job, loading it first when it does not run as `spec` describes it.

        A model in use is reloaded only when its last job is done. Raises JanError: why it cannot be loaded.
        """
        model = self._models.setdefault(spec.id, Model(spec.id))
        await self._bring_up(model, spec)
        assert model.engine is not None
        assert model.client is not None
        model.users += 1
        try:
            yield RunningModel(model, model.engine, model.client)
        finally:
            model.users -= 1
            model.last_used = self._monotonic()
            await self._notify()

    async def notice_crash(self, running: RunningModel) -> None:
        """Wait a moment for an engine that broke off to be seen as dead, so that the next job does not ask it too."""
        try:
            async with asyncio.timeout(_CRASH_NOTICE_SECONDS), self._changed:
                await self._changed.wait_for(lambda: running.model.engine is not running.engine)
        except TimeoutError:
            logger.warning("an engine broke off an answer but lives", model=running.model.id)

    async def close(self) -> None:
        """Stop every engine, also those that are still starting."""
        for model in self._models.values():
            if model.change is not None:
                model.change.cancel()
                await asyncio.wait({model.change})
        await asyncio.gather(*(self._unload(model) for model in self._models.values() if model.engine is not None))

    async def _bring_up(self, model: Model, spec: ModelSpec) -> None:
        """Return when the model serves `spec`. All who wait share one change, which outlives each of them."""
        while not model.serves(spec):
            change = model.change or self._begin(model, self._replace(model, spec), wanted=spec)
            shared = _same(model.wanted, spec)
            await asyncio.wait({change})
            if shared and model.error is not None:
                raise JanError.from_detail(model.error.to_detail())

    def _begin(
        self, model: Model, work: Coroutine[None, None, None], *, wanted: ModelSpec | None
    ) -> asyncio.Task[None]:
        async def changing() -> None:
            try:
                await work
            finally:
                model.change = None
                await self._notify()

        model.wanted = wanted
        model.change = self._tasks.create_task(changing(), name=f"model-{model.id}")
        return model.change

    async def _replace(self, model: Model, spec: ModelSpec) -> None:
        """Unload what runs once it is idle, then load `spec`."""
        async with self._changed:
            await self._changed.wait_for(lambda: model.users == 0)
        if model.engine is not None:
            await self._unload(model)
        model.enter(ModelState.STARTING)
        try:
            await self._load(model, spec)
        except JanError as error:
            model.fail(error)
        except Exception:
            logger.exception("model failed to load", model=model.id)
            model.fail(InternalError(f"Model {model.id} could not be loaded."))

    async def _load(self, model: Model, spec: ModelSpec) -> None:
        await asyncio.sleep(backoff_seconds(model.failures))
        engine = await self._maker.make(spec)
        model.warnings = engine.warnings
        if engine.is_local:
            await self._make_room()
        model.engine = engine
        model.client = EngineClient(await engine.start())
        model.spec = spec
        model.last_used = self._monotonic()
        model.enter(ModelState.RUNNING)
        model.watch = self._tasks.create_task(self._watch(model, engine), name=f"watch-{model.id}")

    async def _watch(self, model: Model, engine: Engine) -> None:
        """Note the crash of a running engine."""
        how = await engine.wait_exit()
        await engine.stop()  # first, because a new engine of this model will listen on the same socket
        client = model.client
        if model.engine is not engine:
            return
        model.fail(UnavailableError(how, code="engine_crashed", retry_after_seconds=1))
        await self._notify()
        if client is not None:
            await client.close()

    async def _make_room(self) -> None:
        """Unload idle models until one more fits; waits while all are at work."""
        while self._is_full():
            async with self._changed:
                await self._changed.wait_for(lambda: not self._is_full() or self._victim() is not None)
            chosen = self._victim()
            if chosen is not None:
                await asyncio.wait({self._begin(chosen, self._unload(chosen), wanted=None)})

    def _is_full(self) -> bool:
        return sum(model.is_loaded for model in self._models.values()) >= self._most_loaded

    def _victim(self) -> Model | None:
        loaded = [m for m in self._models.values() if m.is_loaded]
        resting = [Loaded(m.id, m.users, m.last_used) for m in loaded if m.change is None]
        chosen = victim(resting) if len(loaded) >= self._most_loaded else None
        return self._models[chosen] if chosen is not None else None

    async def _unload(self, model: Model) -> None:
        model.enter(ModelState.STOPPING)
        engine, client, watch = model.engine, model.client, model.watch
        model.engine = model.client = model.spec = model.watch = None
        if watch is not None:
            watch.cancel()
        if client is not None:
            await client.close()
        if engine is not None:
            await engine.stop()
        model.enter(ModelState.READY)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
        for listener in self._listeners:
            listener()


@asynccontextmanager
async def open_models(
    maker: EngineMaker, *, most_loaded: int, monotonic: Callable[[], float] = time.monotonic
) -> AsyncIterator[Models]:
    """The models of this host, of which at most `most_loaded` hold memory; every engine is stopped at the end."""
    async with asyncio.TaskGroup() as tasks:
        models = Models(maker, tasks, most_loaded, monotonic)
        try:
            yield models
        finally:
            await models.close()


def backoff_seconds(failures: int) -> float:
    """How long to wait before a start, after so many failures in a row."""
    return min(_MOST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2 ** (failures - 1)) if failures else 0.0


def _same(one: ModelSpec | None, other: ModelSpec) -> bool:
    """Whether two descriptions lead to the same engine."""
    return (
        one is not None
        and (one.engine, one.format, one.source_url) == (other.engine, other.format, other.source_url)
        and list(one.files) == list(other.files)
        and same_settings(one.settings_json, other.settings_json)
    )
