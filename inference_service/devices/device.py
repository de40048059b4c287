"""A device: memory that models can be loaded into."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class DeviceKind(StrEnum):
    """What computes beside the memory."""

    GPU = "gpu"
    CPU = "cpu"


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU, or the host's CPUs with its RAM.

    free_bytes: what models of this service may fill altogether, so memory that they fill already counts as free, and
    memory that others fill does not. visible_as: its name in CUDA_VISIBLE_DEVICES, in the order of PCI buses.
    """

    id: str
    kind: DeviceKind
    name: str
    memory_bytes: int
    free_bytes: int
    visible_as: str = ""

    def equals(self, other: Device) -> bool:
        """Whether the two are of one make and size, as tensor parallelism needs them."""
        return (self.kind, self.name, self.memory_bytes) == (other.kind, other.name, other.memory_bytes)


class Inventory(Protocol):
    """What tells the devices of this host."""

    def devices(self, own: Collection[int]) -> tuple[Device, ...]:
        """The devices as they are now, GPUs first. Reads files and asks the driver: not for the event loop.

        own: the engine processes of this service; what they hold counts as free.
        """

    def measure(self, engine: int, kind: DeviceKind) -> int:
        """Bytes that an engine and all it started hold of that kind of device; 0 when that cannot be told."""
