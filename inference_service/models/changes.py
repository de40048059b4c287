"""The change of one model: a load, a reload with other settings, an unload; one at a time, shared by all who wait."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from inference_service.devices.device import Device
from inference_service.models.background import Background
from inference_service.models.copies import Copies, EngineMaker
from inference_service.models.model import Change, Copy, Model, ModelState, same_engine
from inference_service.models.registry import Registry
from inference_service.models.waiting import WaitingList
from jan.errors import FailedPreconditionError, InternalError, JanError, UnavailableError
from jan.inference.configurations import key_of
from jan.inference.v1.jobs_pb2 import ModelSpec
from jan.telemetry import get_logger

logger = get_logger(__name__)

_FIRST_BACKOFF_SECONDS = 0.25
_MOST_BACKOFF_SECONDS = 8.0


class Changes:
    """Brings models up and to rest."""

    def __init__(
        self,
        maker: EngineMaker,
        registry: Registry,
        waiting: WaitingList,
        copies: Copies,
        background: Background,
    ) -> None:
        """`background` does the changes: they outlive those who ask for them."""
        self._maker = maker
        self._registry = registry
        self._waiting = waiting
        self._copies = copies
        self._background = background
        self._leaving = False

    async def bring_up(self, spec: ModelSpec) -> Model:
        """Return when the model serves `spec`. All who wait share one change, which outlives each of them.

        Raises JanError: why it cannot be loaded.
        """
        key = key_of(spec)
        model = self._registry.model(key)
        while not model.serves(spec) or model.closed:
            if self._leaving:
                raise UnavailableError("The engine host is stopping.", code="host_stopping", retry_after_seconds=1)
            if model.serves(spec):
                await self._until_open(model, spec)
                continue
            change = model.change or self.begin(model, spec)
            await change.ended()
            if change.outcome is not None and same_engine(change.wanted, spec):
                raise JanError.from_detail(change.outcome.to_detail())
            model = self._registry.model(key)  # one at rest may have been forgotten meanwhile
        return model

    def awaits_memory(self, model: Model) -> bool:
        """Whether a model that is being brought up has no place in memory yet."""
        return model.key in self._waiting

    async def _until_open(self, model: Model, spec: ModelSpec) -> None:
        """Wait until a model that serves `spec` takes new jobs again, or is on its way out."""
        await self._registry.until(lambda: not model.closed or not model.serves(spec))

    async def bring_to_rest(self, model: Model) -> None:
        """Unload a model once the answers that it writes are whole; a load under way is broken off."""
        while model.change is not None or model.copies:
            change = model.change or self.begin(model, None)
            if change.wanted is None:
                await change.ended()
            elif model.state is ModelState.STOPPING:  # on the way to a reload: an unload is never broken off
                await self._registry.until(lambda: model.state is not ModelState.STOPPING)
            else:
                change.outcome = FailedPreconditionError(f"Model {model.id} was stopped.", code="model_stopped")
                await change.break_off()
                await self._registry.notify()

    async def close(self) -> None:
        """Bring every model to rest, and load none any more."""
        self._leaving = True
        await asyncio.gather(*(self.bring_to_rest(model) for model in self._registry.all()))

    def begin(self, model: Model, wanted: ModelSpec | None, *, sleeps: bool = False) -> Change:
        """Begin to load what is wanted, after unloading what runs; or only to unload, or to have it sleep."""
        change = model.change = Change(wanted, sleeps)
        change.task = self._background.start(partial(self._carry_out, model, change), f"model-{model.id}")
        # Not left to the task: one that is cancelled before its first step never runs, its `finally` neither.
        change.task.add_done_callback(lambda _: self._over(model, change))
        return change

    @staticmethod
    def _over(model: Model, change: Change) -> None:
        """Make room for the next change; harmless twice."""
        if model.change is change:
            model.change = None

    async def _carry_out(self, model: Model, change: Change) -> None:
        try:
            await self._retire(model, change)
            if change.wanted is not None:
                await self._bring(model, change.wanted)
        except JanError as error:
            change.outcome = error
            model.fail(error)
        except Exception:
            logger.exception("a model could not be changed", model=model.id)
            what = "unloaded" if change.wanted is None else "loaded"
            change.outcome = InternalError(f"Model {model.id} could not be {what}: the server failed.")
            model.fail(change.outcome)
        finally:
            self._over(model, change)
            await self._registry.notify()

    async def _retire(self, model: Model, change: Change) -> None:
        """Unload a model once it is idle; nobody new gets in, because a change is under way.

        One that sleeps, or is to, stays where it is, if it will serve what is wanted.
        """
        if model.users:
            await self._registry.until(lambda: model.users == 0)
        if model.sleeper is not None and change.wanted is not None and same_engine(model.spec, change.wanted):
            return
        if model.copies and not (change.sleeps and await self._copies.lay_down(model)):
            await self._copies.end_all(model)

    async def _bring(self, model: Model, spec: ModelSpec) -> None:
        """Load a model that is not loaded."""
        model.enter(ModelState.STARTING)
        try:
            await self._load(model, spec)
        except asyncio.CancelledError:
            model.enter(ModelState.STOPPING)
            model.enter(ModelState.READY)
            raise

    async def _load(self, model: Model, spec: ModelSpec) -> None:
        await asyncio.sleep(backoff_seconds(model.failures))
        try:
            assessment = await self._maker.assess(spec, await self._devices())
            model.hosting, model.demand = assessment.hosting, assessment.demand
            copy = await self._placed(model)
        except BaseException:
            await self._copies.end_asleep(model)
            raise
        if copy.engine is None:
            await self._copies.start(model, copy, spec, assessment.warnings)
        model.spec = spec
        model.enter(ModelState.RUNNING)

    async def _devices(self) -> Sequence[Device]:
        """What a context has to fit. A look that fails is for the placement to repeat, and to tell of."""
        try:
            return await self._registry.devices()
        except Exception:
            logger.exception("the devices could not be looked at before a load")
            return self._registry.known_devices

    async def _placed(self, model: Model) -> Copy:
        """A copy to be started in its place, or the one that slept, awake. One that does not wake is done with."""
        if model.demand is None:
            return model.new_copy(None)
        while True:
            copy = await self._waiting.place(model, model.demand)
            if copy.engine is None or await self._copies.wake(model, copy):
                return copy


def backoff_seconds(failures: int) -> float:
    """How long to wait before a start, after so many failures in a row."""
    return min(_MOST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2 ** (failures - 1)) if failures else 0.0
