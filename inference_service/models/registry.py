"""What one host has: every model it was asked for, its devices, and the waking of those who wait for a change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from inference_service.devices.device import Device, Inventory
from inference_service.memory.residency import Resident
from inference_service.models.model import Model, ModelState, ModelStatus
from inference_service.models.watchers import Watchers

_INVENTORY_SECONDS = 1.0  # how old the figures of the devices may be
_MOST_CONFIGURATIONS = 256

_LIVELIEST: Final = (
    *(ModelState.RUNNING, ModelState.STOPPING, ModelState.STARTING),
    *(ModelState.ERROR, ModelState.READY),
)


class Registry:
    """The models and devices of one host."""

    def __init__(self, inventory: Inventory, monotonic: Callable[[], float]) -> None:
        """`monotonic` is the clock of everything that is counted here, in seconds."""
        self.inventory = inventory
        self.monotonic = monotonic
        self.watchers = Watchers()
        self.look = asyncio.Event()
        """Set when a new plan may differ."""
        self._models: dict[str, Model] = {}
        self._devices: tuple[Device, ...] = ()
        self._devices_at = -_INVENTORY_SECONDS
        self._changed = asyncio.Condition()
        self._listeners: list[Callable[[], None]] = []

    def all(self) -> list[Model]:
        """Every model asked for since the start, in each of its configurations, by key."""
        return [self._models[key] for key in sorted(self._models)]

    def find(self, key: str) -> Model | None:
        """A model in one configuration, if it was ever asked for."""
        return self._models.get(key)

    def model(self, key: str) -> Model:
        """A model in one configuration; one that was never asked for is at rest."""
        if key not in self._models:
            self._forget_some()
            self._models[key] = Model(key, lambda status: self.watchers.tell(self.status_of(status.model_id)))
        return self._models[key]

    def statuses(self) -> list[ModelStatus]:
        """What is told of every model asked for since the start, by id."""
        return [self.status_of(model_id) for model_id in sorted({model.id for model in self._models.values()})]

    def status_of(self, model_id: str) -> ModelStatus:
        """What is told of a model: the configuration that is loaded, else the one that comes closest to it."""
        models = [model for model in self.all() if model.id == model_id]
        placements = tuple(placement for model in models for placement in model.status.placements)
        return replace(min(models, key=lambda model: _LIVELIEST.index(model.state)).status, placements=placements)

    def _forget_some(self) -> None:
        """Of settings that threads once had, only so many are remembered."""
        others = [model for model in self._models.values() if model.key != model.id]
        if len(others) >= _MOST_CONFIGURATIONS:
            for model in others:
                if model.at_rest:
                    del self._models[model.key]

    def residents(self) -> tuple[Resident, ...]:
        """Every copy that holds memory of this host."""
        return tuple(resident for model in self.all() for resident in model.residents())

    @property
    def known_devices(self) -> tuple[Device, ...]:
        """The devices as they were when somebody last looked; none before the first look."""
        return self._devices

    async def devices(self) -> tuple[Device, ...]:
        """The devices of this host, as they were a moment ago."""
        if self.monotonic() >= self._devices_at + _INVENTORY_SECONDS:
            copies = [copy for model in self._models.values() for copy in model.copies]
            own = [copy.engine.pid for copy in copies if copy.engine is not None and copy.engine.pid is not None]
            self._devices = await asyncio.to_thread(self.inventory.devices, own)
            self._devices_at = self.monotonic()
        return self._devices

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever a model may have room that it had not before."""
        self._listeners.append(listener)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until a change after which `holds` is true."""
        async with self._changed:
            await self._changed.wait_for(holds)

    async def notify(self, *, look: bool = True) -> None:
        """Wake all who wait for a change; with `look` the placement too."""
        if look:
            self.look.set()
        async with self._changed:
            self._changed.notify_all()
        for listener in self._listeners:
            listener()
