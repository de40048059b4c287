"""What a copy that sleeps holds: what is left on its GPUs, and its weights in RAM. Pure.

Never seen on a GPU: what is left there is the estimated overhead, until a copy has slept and was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from inference_service.devices.device import Device, DeviceKind
from inference_service.memory.fit import Footprint
from inference_service.memory.placement import Placement, Share


@dataclass(frozen=True, slots=True)
class SleepPlaces:
    """Where a copy that can sleep is awake, and what it holds while it sleeps, its share of RAM last."""

    awake: Placement
    asleep: Placement

    @property
    def ram(self) -> Share:
        """Where its weights rest."""
        return self.asleep.shares[-1]

    @property
    def between(self) -> Placement:
        """While it falls asleep or wakes it holds both."""
        return replace(self.awake, shares=(*self.awake.shares, self.ram))

    def measured(self, left_bytes: int) -> SleepPlaces:
        """With what was found on its GPUs together while it slept; 0 for unknown."""
        if not left_bytes:
            return self
        return _places(self.awake, -(-left_bytes // len(self.awake.shares)), self.ram)


def sleep_places(awake: Placement, footprint: Footprint, devices: Sequence[Device]) -> SleepPlaces | None:
    """Where a copy that runs on GPUs would sleep; None for one on the CPU, or when nothing is known of the RAM."""
    ram = next((device for device in devices if device.kind is DeviceKind.CPU), None)
    if ram is None or not awake.on_gpu:
        return None
    return _places(awake, footprint.overhead_bytes, Share(ram, footprint.weights_bytes))


def _places(awake: Placement, left_bytes: int, ram: Share) -> SleepPlaces:
    left = (replace(share, size_bytes=min(share.size_bytes, left_bytes)) for share in awake.shares)
    return SleepPlaces(awake, Placement((*left, ram), "asleep: its weights rest in RAM"))
