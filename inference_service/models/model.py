"""One model on this host: its state, its loaded copies, and what is told of both.

ready -> starting -> running -> stopping -> ready (at rest, or asleep: then it holds memory, and may stop once more)
|          |
+--> error +--> starting (by the next job, after a back-off)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from inference_service.engines.client import EngineClient
from inference_service.engines.engine import Engine
from inference_service.engines.model_settings import same_settings
from inference_service.memory.placement import Demand, Placement
from inference_service.memory.residency import Phase, Resident
from inference_service.models.hosting import HostingSettings
from inference_service.models.sleeping import SleepPlaces
from jan.errors import InternalError, JanError, UnavailableError
from jan.inference.configurations import model_of
from jan.inference.v1.jobs_pb2 import ModelSpec
from jan.telemetry import get_logger

logger = get_logger(__name__)


class ModelState(StrEnum):
    """Where a model is in its life on this host."""

    READY = "ready"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    ERROR = "error"


TRANSITIONS: Final[dict[ModelState, frozenset[ModelState]]] = {
    ModelState.READY: frozenset({ModelState.STARTING, ModelState.STOPPING}),  # stopping: it slept
    ModelState.STARTING: frozenset({ModelState.RUNNING, ModelState.ERROR, ModelState.STOPPING}),
    ModelState.RUNNING: frozenset({ModelState.STOPPING, ModelState.ERROR}),
    ModelState.STOPPING: frozenset({ModelState.READY, ModelState.ERROR}),  # an error: it could not be unloaded
    ModelState.ERROR: frozenset({ModelState.STARTING}),
}


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What is told of a model at one moment.

    progress: how much of it is loaded, 0 to 1, while it starts and that is known. activity: what it waits for or does,
    in words. placements: where its copies are.
    """

    model_id: str
    state: ModelState
    error: JanError | None
    warnings: tuple[str, ...]
    progress: float | None
    activity: str
    placements: tuple[Placement, ...]


class Copy:
    """One engine that runs a model, from the decision to load it until it has ended. Without a placement: elsewhere."""

    def __init__(self, number: int, placement: Placement | None) -> None:
        """A copy that is about to be loaded."""
        self.number = number
        self.placement = placement
        """What it holds now."""
        self.places: SleepPlaces | None = None
        """What it holds awake and asleep; None for one that cannot sleep."""
        self.phase = Phase.LOADING
        self.engine: Engine | None = None
        self.client: EngineClient | None = None
        self.watch: asyncio.Task[None] | None = None
        self.measuring: asyncio.Task[None] | None = None
        self.is_dead = False
        """Its engine has said so, and is being ended."""
        self.users = 0
        """Jobs that it works on now."""
        self.last_used = 0.0
        self.loaded_at = 0.0
        self.load_seconds = 0.0

    def rouse(self) -> Copy:
        """It is about to wake: from now on it holds its place on the GPUs, too."""
        assert self.places is not None
        self.phase, self.placement = Phase.LOADING, self.places.between
        return self

    def rest(self) -> None:
        """It sleeps, or goes on to."""
        assert self.places is not None
        self.phase, self.placement = Phase.SLEEPING, self.places.asleep


@dataclass(slots=True, eq=False)
class Change:
    """A load or an unload under way. wanted: what it will bring, None for nothing. outcome: why it did not.

    sleeps: its one copy is to sleep instead of being unloaded.
    """

    wanted: ModelSpec | None
    sleeps: bool = False
    outcome: JanError | None = None
    task: asyncio.Task[None] | None = None

    async def ended(self) -> None:
        """Wait for its end, whatever that is; it goes on when the waiter leaves."""
        assert self.task is not None
        await asyncio.wait({self.task})

    async def break_off(self) -> None:
        """Cancel it and wait for its end. Asked again it only waits: what it does at its end is not broken off."""
        assert self.task is not None
        if not self.task.cancelling():
            self.task.cancel()
        await asyncio.wait({self.task})


class Model:
    """One model: its state and its copies."""

    def __init__(self, key: str, tell: Callable[[ModelStatus], None] = lambda _: None) -> None:
        """A model at rest, in one configuration (`jan.inference.configurations`); `tell` hears of every change."""
        self.key = key
        self.id = model_of(key)
        self.state = ModelState.READY
        self.error: JanError | None = None
        self.warnings: tuple[str, ...] = ()
        self.spec: ModelSpec | None = None
        """What runs."""
        self.demand: Demand | None = None
        """What one more copy would need."""
        self.hosting = HostingSettings()
        self.copies: list[Copy] = []
        self.failures = 0
        """Times in a row that its engine did not start or crashed."""
        self.change: Change | None = None
        """The load or unload under way: one at a time."""
        self.closed = ""
        """Why it takes no new jobs for now; empty when it does."""
        self._activity = ""
        self._progress: float | None = None
        self._tell = tell

    @property
    def running(self) -> list[Copy]:
        """The copies that answer."""
        return [copy for copy in self.copies if copy.phase is Phase.RUNNING]

    @property
    def sleeper(self) -> Copy | None:
        """The copy that sleeps; it is the only one then."""
        return next((copy for copy in self.copies if copy.phase is Phase.SLEEPING), None)

    @property
    def at_rest(self) -> bool:
        """Whether nothing of it is loaded or being changed."""
        return self.change is None and not self.copies

    @property
    def users(self) -> int:
        """Jobs that hold it now."""
        return sum(copy.users for copy in self.copies)

    @property
    def slots(self) -> int:
        """How many jobs it can work on; one while that is unknown, enough to get it started."""
        if self.closed:
            return 0
        engines = [copy.engine for copy in self.running if copy.engine is not None]
        return sum(engine.slots for engine in engines) if engines and self.state is ModelState.RUNNING else 1

    @property
    def status(self) -> ModelStatus:
        """What is told of it."""
        placements = tuple(copy.placement for copy in self.copies if copy.placement is not None)
        sleeps = self.state is ModelState.READY and self.sleeper is not None
        activity = self._activity or self.closed or ("sleeping" if sleeps else "")
        return ModelStatus(self.id, self.state, self.error, self.warnings, self._progress, activity, placements)

    def serves(self, spec: ModelSpec) -> bool:
        """Whether it runs now, as `spec` describes it, and will go on to."""
        return (
            self.change is None
            and self.state is ModelState.RUNNING
            and bool(self.running)
            and same_engine(self.spec, spec)
        )

    def least_busy(self) -> Copy:
        """The running copy with the most room."""
        return min(self.running, key=lambda copy: (copy.users, copy.number))

    def new_copy(self, placement: Placement | None) -> Copy:
        """Add a copy that is about to be loaded; its memory counts from now on."""
        numbers = {copy.number for copy in self.copies}
        copy = Copy(next(number for number in range(len(numbers) + 1) if number not in numbers), placement)
        self.copies.append(copy)
        return copy

    def drop(self, copy: Copy) -> None:
        """Forget a copy that has ended; harmless twice. A running model is at rest without its last one."""
        if copy in self.copies:
            self.copies.remove(copy)
        if not self.copies and self.state is ModelState.RUNNING:
            self.spec = self.demand = None
            self.enter(ModelState.STOPPING)
            self.enter(ModelState.READY)

    def lose(self, copy: Copy, error: JanError) -> None:
        """Forget a copy whose engine crashed. The last one takes the model into the error state, unless it slept."""
        self.copies.remove(copy)
        if self.copies or copy.phase is Phase.SLEEPING:
            self.tell()
        else:
            self.fail(error)

    def residents(self) -> list[Resident]:
        """The copies that hold memory of this host, for `residency.plan`.

        A model in the middle of a change gives its copies up by itself, so they count as leaving.
        """
        leaving = self.change is not None and self.state is not ModelState.STARTING
        return [
            Resident(
                model_id=self.key,
                copy=copy.number,
                placement=copy.placement,
                phase=Phase.STOPPING if leaving else copy.phase,
                users=copy.users,
                last_used=copy.last_used,
                loaded_at=copy.loaded_at,
                load_seconds=copy.load_seconds,
                idle_seconds=self.hosting.idle_seconds,
                places=copy.places,
            )
            for copy in self.copies
            if copy.placement is not None
        ]

    def enter(self, state: ModelState, error: JanError | None = None) -> None:
        """Change state; `error` belongs to the error state."""
        assert state in TRANSITIONS[self.state], f"{self.state} -> {state}"
        self.state = state
        self.error = error
        self._progress = None
        self._activity = ""
        logger.info("model state", model=self.id, state=str(state), error=error.message if error else None)
        self._tell(self.status)

    def report(self, activity: str, progress: float | None = None) -> None:
        """Tell what it is about, without a change of state; the same words twice are told once."""
        if (activity, progress) != (self._activity, self._progress):
            self._activity, self._progress = activity, progress
            self._tell(self.status)

    def tell(self) -> None:
        """Tell what has changed in silence: its copies."""
        self._tell(self.status)

    def close(self, why: str) -> None:
        """Take no new jobs while `why` is not empty."""
        if bool(why) != bool(self.closed):
            logger.info("model closed" if why else "model open", model=self.id, why=why or None)
            self.closed = why
            self._tell(self.status)

    def fail(self, error: JanError) -> None:
        """Enter the error state. Only what may pass by itself makes the next start wait longer."""
        self.spec = self.demand = None
        self.failures += isinstance(error, UnavailableError | InternalError)
        self.enter(ModelState.ERROR, error)


@dataclass(frozen=True, slots=True)
class RunningModel:
    """A loaded model, held for one job."""

    model: Model
    copy: Copy
    engine: Engine
    client: EngineClient

    def succeeded(self) -> None:
        """A job went through: earlier failures no longer count against the model."""
        self.model.failures = 0


def same_engine(one: ModelSpec | None, other: ModelSpec) -> bool:
    """Whether two descriptions lead to the same engine."""
    return (
        one is not None
        and (one.engine, one.format, one.source_url) == (other.engine, other.format, other.source_url)
        and (one.folder, list(one.files)) == (other.folder, list(other.files))
        and one.base == other.base
        and same_settings(one.settings_json, other.settings_json)
    )
