"""An inventory that is told instead of found: `JANROOT_DEVICES`, for tests, plans and hosts that cannot be asked."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from inference_service.devices.device import Device, DeviceKind
from inference_service.devices.memory import resident_bytes, session_members

_KEYS: Final = frozenset({"id", "kind", "name", "memory_bytes", "memory_gib", "free_bytes"})
_MOST_DEVICES: Final = 64
_MOST_BYTES: Final = 2**50
_GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class DeclaredInventory:
    """The devices that somebody said there are, always the same."""

    declared: tuple[Device, ...]

    def devices(self, own: Collection[int]) -> tuple[Device, ...]:  # nothing is measured
        """What was declared."""
        return self.declared

    def measure(self, engine: int, kind: DeviceKind) -> int:
        """What an engine holds of the RAM, which is real whatever was declared; nothing of GPUs that may not exist."""
        return sum(map(resident_bytes, session_members({engine}))) if kind is DeviceKind.CPU else 0


def read_declared(value: str) -> DeclaredInventory:
    """The inventory in a JSON text, or in the file that the value names.

    Raises ValueError: what cannot be used, as the end of a sentence that begins with the setting's name.
    """
    text = value
    if not value.lstrip().startswith(("[", "{")):
        try:
            text = Path(value).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"names {value}, which cannot be read: {error}") from None
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(entries, list) or not 1 <= len(entries) <= _MOST_DEVICES:
        raise ValueError(f"must be a list of 1 to {_MOST_DEVICES} devices")
    devices = tuple(_device(entry, place) for place, entry in enumerate(entries))
    if len({device.id for device in devices}) < len(devices):
        raise ValueError("names two devices alike")
    return DeclaredInventory(devices)


def _device(entry: Any, place: int) -> Device:
    if not isinstance(entry, dict) or not set(entry) <= _KEYS:
        raise ValueError(f"must hold objects with no other keys than {', '.join(sorted(_KEYS))}")
    try:
        kind = DeviceKind(entry.get("kind", "gpu"))
    except ValueError:
        raise ValueError("must have gpu or cpu as a device's kind") from None
    memory_bytes = _bytes(entry, "memory_bytes", _gib(entry))
    free_bytes = _bytes(entry, "free_bytes", memory_bytes)
    name, device_id = entry.get("name", str(kind)), entry.get("id", f"{kind}-{place}")
    if not (isinstance(name, str) and isinstance(device_id, str) and device_id):
        raise ValueError("must have texts as a device's id and name")
    visible_as = str(place) if kind is DeviceKind.GPU else ""
    return Device(device_id, kind, name, memory_bytes, min(free_bytes, memory_bytes), visible_as)


def _gib(entry: dict[str, Any]) -> int | None:
    value = entry.get("memory_gib")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value * _GIB <= _MOST_BYTES:
        raise ValueError("must have a number of GiB as memory_gib")
    return int(value * _GIB)


def _bytes(entry: dict[str, Any], key: str, default: int | None) -> int:
    value = entry.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_BYTES:
        raise ValueError(f"must tell a device's {key} as a whole number of bytes")
    return value
