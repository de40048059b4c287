"""The placement loop: asks `residency.plan` whenever something has changed, and does what it says."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

from inference_service.devices.device import DeviceKind
from inference_service.memory.placement import Placement
from inference_service.memory.residency import Phase, Plan, Policy, State, Want, plan
from inference_service.models.background import Background
from inference_service.models.changes import Changes
from inference_service.models.copies import Copies
from inference_service.models.model import Copy, Model
from inference_service.models.registry import Registry
from inference_service.models.waiting import WaitingList
from jan.errors import FailedPreconditionError, JanError
from jan.inference.configurations import described
from jan.telemetry import get_logger

logger = get_logger(__name__)

_MOST_FAILED_TURNS = 3  # in a row, before those who wait are told
_FAILED_TURN_SECONDS = 0.25


class Planner:
    """Decides for all models of a host together, and acts."""

    def __init__(
        self,
        registry: Registry,
        waiting: WaitingList,
        changes: Changes,
        copies: Copies,
        background: Background,
        *,
        policy: Policy,
    ) -> None:
        """`background` does what there is to do about single copies."""
        self._registry = registry
        self._waiting = waiting
        self._changes = changes
        self._copies = copies
        self._policy = policy
        self._background = background
        self._failed_turns = 0

    async def run(self) -> None:
        """Plan and act, whenever something has changed or time has passed; never returns."""
        while True:
            self._registry.look.clear()
            pause_seconds = await self._contained_turn()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_seconds):
                    await self._registry.look.wait()

    async def _contained_turn(self) -> float | None:
        """One turn, and how long the next may wait. A turn that fails is done again; who waits does so for three."""
        try:
            pause_seconds = await self._turn()
        except Exception:
            logger.exception("a turn of the placement failed")
            self._failed_turns += 1
            if self._failed_turns % _MOST_FAILED_TURNS == 0:
                self._waiting.refuse_all("The server failed while it looked for room for model {}.")
            await asyncio.sleep(_FAILED_TURN_SECONDS)
            return 0.0
        self._failed_turns = 0
        return pause_seconds

    async def _turn(self) -> float | None:
        registry = self._registry
        if self._waiting or not registry.known_devices:
            await registry.devices()
        now = registry.monotonic()
        wants = self._waiting.wants() + self._extra_wants(now)
        made = plan(State(registry.known_devices, registry.residents(), self._policy, now), wants)
        await self._act(made)
        return None if made.look_again_at is None else made.look_again_at - now

    def _extra_wants(self, now: float) -> list[Want]:
        """One more copy of each model that has no slot left, where GPUs might hold it."""
        if not any(device.kind is DeviceKind.GPU for device in self._registry.known_devices):
            return []
        return [
            Want(model.demand, now, extra=True)
            for model in self._registry.all()
            if model.demand is not None
            and model.change is None
            and model.users >= model.slots > 0
            and len(model.copies) == len(model.running) < model.hosting.replicas
        ]

    async def _act(self, made: Plan) -> None:
        """Do what the plan says; everything in it was decided on the state as it is now."""
        model = self._registry.model
        for known in self._registry.all():
            known.close(made.closed.get(known.key, ""))
        for key in sorted({eviction.model_id for eviction in made.evictions}):
            evictions = [eviction for eviction in made.evictions if eviction.model_id == key]
            sleeps = any(eviction.sleeps for eviction in evictions)
            self._evict(model(key), {eviction.copy: eviction.why for eviction in evictions}, sleeps=sleeps)
        for key, reason in made.refusals.items():
            message = f"There is not enough memory for model {described(key)}: {reason}."
            self._waiting.refuse(key, FailedPreconditionError(message, code="insufficient_memory"))
        for key, why in made.waits.items():
            model(key).report(why)
        for key, placement in made.loads.items():
            self._grant(model(key), placement)
        for key in made.wakes:
            sleeper = model(key).sleeper
            assert sleeper is not None
            logger.info("waking", model=model(key).id)
            self._waiting.grant(sleeper.rouse(), key)
        await self._registry.notify(look=False)

    def _evict(self, model: Model, reasons: dict[int, str], *, sleeps: bool) -> None:
        """Unload some copies of a model, or the whole of it when no other copy stays; or have its one copy sleep."""
        logger.info("falling asleep" if sleeps else "unloading", model=model.id, why=", ".join(reasons.values()))
        leaving = [copy for copy in model.copies if copy.number in reasons]
        # A model under change here waits to wake, and is loaded anew when its copy that sleeps is ended.
        if model.change is None and all(copy in leaving or copy.phase is Phase.STOPPING for copy in model.copies):
            self._changes.begin(model, None, sleeps=sleeps)
            return
        for copy in leaving:
            self._end(model, copy)

    def _end(self, model: Model, copy: Copy) -> None:
        copy.phase = Phase.STOPPING
        self._background.start(partial(self._copies.end, model, copy), f"unload-{model.id}-{copy.number}")

    def _grant(self, model: Model, placement: Placement) -> None:
        """Give a copy its place: the memory is taken from this moment on."""
        logger.info("placed", model=model.id, why=placement.why)
        if model.sleeper is not None:  # its own GPUs are taken
            self._end(model, model.sleeper)
        copy = model.new_copy(placement)
        if model.key in self._waiting:
            self._waiting.grant(copy, model.key)
        else:
            self._background.start(
                partial(self._start_extra, model, copy),
                f"copy-{model.id}-{copy.number}",
                after_failure=partial(self._limit, model),
            )

    async def _start_extra(self, model: Model, copy: Copy) -> None:
        """Start one more copy of a running model; if that fails, there will be no further ones until it is reloaded."""
        if model.spec is None:
            return  # the model is being unloaded, and this copy with it
        try:
            await self._copies.start(model, copy, model.spec, ())
        except JanError as error:
            logger.warning("one more copy could not be started", model=model.id, reason=error.message)
            await self._limit(model)
        else:
            model.tell()
            await self._registry.notify()

    async def _limit(self, model: Model) -> None:
        model.hosting = model.hosting.limited_to(len(model.copies))
        model.tell()
        await self._registry.notify()
