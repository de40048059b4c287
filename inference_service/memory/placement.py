"""Where one copy of a model goes: on one device, split over several, or nowhere. Pure functions of what is free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from inference_service.devices.device import Device, DeviceKind
from inference_service.memory.fit import Footprint, in_words


@dataclass(frozen=True, slots=True)
class Demand:
    """What one copy of a model asks for. kinds: devices that its engine runs on, the better first."""

    model_id: str
    footprint: Footprint
    kinds: tuple[DeviceKind, ...]
    shards: bool
    """Whether its engine spreads one model over several GPUs."""
    reduced_ctx_tokens: int = 0
    """The context that it is to be loaded with, since its usual one does not fit; 0 for what its settings lead to."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a copy holds of one device."""

    device: Device
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a copy is or will be, and why there; the engine's launcher reads its flags from it.

    stage_layers: the layers of each pipeline stage, in the order of `shares`; empty without a pipeline.
    """

    shares: tuple[Share, ...]
    why: str
    tensor_parallel: int = 1
    stage_layers: tuple[int, ...] = ()

    @property
    def visible_devices(self) -> str:
        """CUDA_VISIBLE_DEVICES of the child: its GPUs in the order of stages, empty for none."""
        return ",".join(share.device.visible_as for share in self.shares if share.device.kind is DeviceKind.GPU)

    @property
    def environment(self) -> dict[str, str]:
        """What a child must be told to see its own devices and no others."""
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": self.visible_devices}

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU holds it."""
        return any(share.device.kind is DeviceKind.GPU for share in self.shares)


Free = Mapping[str, int]
"""Bytes that are free on each device, by its id."""


def choose(demand: Demand, devices: Sequence[Device], free: Free) -> Placement | None:
    """The best place for one more copy; None when there is none.

    One GPU if one suffices, the fullest that does, so that the larger stay free for larger models. Else tensor
    parallel over equal GPUs, as few as will do, a power of two that divides the attention heads. Else a pipeline over
    GPUs of any size. Then the CPU. The order of kinds is the engine's.
    """
    for kind in demand.kinds:
        fitting = [device for device in devices if device.kind is kind]
        placement = _on_one(demand, fitting, free)
        if placement is None and demand.shards and kind is DeviceKind.GPU:
            placement = _tensor_parallel(demand, fitting, free) or _pipeline(demand, fitting, free)
        if placement is not None:
            return replace(placement, why=placement.why + _why_kind(demand, kind, devices))
    return None


def why_not(demand: Demand, devices: Sequence[Device], free: Free) -> str:
    """What is missing, with the numbers, when `choose` finds no place."""
    needs = demand.footprint
    usable = [device for device in devices if device.kind in demand.kinds]
    if not usable:
        return f"its engine runs on {' or '.join(demand.kinds)} only, and this host has none"
    best = max(usable, key=lambda device: (free[device.id], device.id))
    parts = f"weights {in_words(needs.weights_bytes)}, KV cache {in_words(needs.kv_cache_bytes)}"
    words = (
        f"it needs {in_words(needs.total_bytes)} ({parts}, overhead {in_words(needs.overhead_bytes)}), "
        f"and {best.id} has {in_words(max(0, free[best.id]))} for it"
    )
    if demand.shards and len(usable) > 1:
        words += f"; split over {len(usable)} devices it does not fit either"
    if needs.kv_cache_bytes * 4 > needs.total_bytes:
        words += "; a smaller ctx_len or n_parallel needs less"
    return words


def _on_one(demand: Demand, devices: Sequence[Device], free: Free) -> Placement | None:
    size = demand.footprint.total_bytes
    fitting = [device for device in devices if size <= free[device.id]]
    if not fitting:
        return None
    device = min(fitting, key=lambda found: (free[found.id], found.id))
    why = f"fits on {device.id} ({device.name}): {in_words(size)} of {in_words(free[device.id])} free"
    return Placement((Share(device, size),), why)


def _tensor_parallel(demand: Demand, devices: Sequence[Device], free: Free) -> Placement | None:
    for ways, group in _equal_groups(devices):
        size = demand.footprint.shard_bytes(ways)
        fitting = sorted((free[device.id], device.id, device) for device in group if size <= free[device.id])
        if demand.footprint.can_split(ways) and len(fitting) >= ways:
            chosen = sorted((device for _, _, device in fitting[:ways]), key=_order)
            names = ", ".join(device.id for device in chosen)
            why = (
                f"no GPU alone has {in_words(demand.footprint.total_bytes)} free; "
                f"tensor parallel over {ways} equal GPUs ({names}), {in_words(size)} on each"
            )
            return Placement(tuple(Share(device, size) for device in chosen), why, tensor_parallel=ways)
    return None


def _equal_groups(devices: Sequence[Device]) -> Iterator[tuple[int, list[Device]]]:
    """Each power of two with each group of at least as many equal devices, small powers first."""
    groups: list[list[Device]] = []
    for device in sorted(devices, key=_order):
        group = next((group for group in groups if group[0].equals(device)), None)
        if group is None:
            groups.append([device])
        else:
            group.append(device)
    ways = 2
    while any(len(group) >= ways for group in groups):
        yield from ((ways, group) for group in groups if len(group) >= ways)
        ways *= 2


def _pipeline(demand: Demand, devices: Sequence[Device], free: Free) -> Placement | None:
    """Whole layers on each GPU, in proportion to what it has free; as few GPUs as will do."""
    needs = demand.footprint
    room = {device.id: (free[device.id] - needs.overhead_bytes) // needs.layer_bytes() for device in devices}
    by_room = sorted((device for device in devices if room[device.id] > 0), key=lambda d: (-room[d.id], d.id))
    chosen: list[Device] = []
    for device in by_room:
        chosen.append(device)
        if sum(room[found.id] for found in chosen) >= needs.layers:
            break
    else:
        return None
    if not 1 < len(chosen) <= needs.layers:
        return None
    chosen.sort(key=_order)
    layers = _divide(needs.layers, [room[device.id] for device in chosen])
    shares = tuple(Share(device, needs.stage_bytes(count)) for device, count in zip(chosen, layers, strict=True))
    parts = ", ".join(f"{count} layers on {device.id}" for device, count in zip(chosen, layers, strict=True))
    why = (
        f"no GPU alone has {in_words(needs.total_bytes)} free, and tensor parallel over equal GPUs does not fit; "
        f"a pipeline: {parts}"
    )
    return Placement(shares, why, stage_layers=tuple(layers))


def _divide(layers: int, room: Sequence[int]) -> list[int]:
    """Layers in proportion to room, at least one each and never more than there is room for."""
    given = [max(1, layers * part // sum(room)) for part in room]
    while sum(given) != layers:
        step = 1 if sum(given) < layers else -1
        places = [place for place, part in enumerate(room) if 1 <= given[place] + step <= part]
        place = max(places, key=lambda found: (step * (room[found] - given[found]), -found))
        given[place] += step
    return given


def _why_kind(demand: Demand, kind: DeviceKind, devices: Sequence[Device]) -> str:
    """Why the CPU, where there are GPUs."""
    if kind is DeviceKind.GPU or not any(device.kind is DeviceKind.GPU for device in devices):
        return ""
    return "; no GPU has room" if DeviceKind.GPU in demand.kinds else "; its engine runs on the CPU only"


def _order(device: Device) -> tuple[int, str]:
    return (len(device.id), device.id)  # gpu-2 before gpu-10
