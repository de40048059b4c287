"""Whether a model would fit: the answer to a question, nothing is loaded for it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from inference_service.devices.device import Device
from inference_service.memory.placement import Demand, Placement, choose, why_not
from inference_service.memory.residency import Resident
from jan.inference.configurations import described, model_of


@dataclass(frozen=True, slots=True)
class FitAnswer:
    """fits: with nothing else loaded. fits_now: beside what is loaded. placement: where; None when it does not fit."""

    fits: bool
    fits_now: bool
    placement: Placement | None
    why: str


def answer_fit(demand: Demand, devices: Sequence[Device], residents: Collection[Resident]) -> FitAnswer:
    """Whether one copy of a model fits on `devices`; a copy of it that is loaded already does not count against it."""
    empty = {device.id: device.free_bytes for device in devices}
    free = dict(empty)
    others = [resident for resident in residents if model_of(resident.model_id) != model_of(demand.model_id)]
    for resident in others:
        for share in resident.placement.shares:
            if share.device.id in free:
                free[share.device.id] -= share.size_bytes
    now, alone = choose(demand, devices, free), choose(demand, devices, empty)
    if alone is None:
        return FitAnswer(False, False, None, f"It does not fit: {why_not(demand, devices, empty)}.")
    if now is None:
        names = ", ".join(sorted({described(resident.model_id) for resident in others}))
        why = f"It fits once others are unloaded (loaded: {names}): {alone.why}."
        return FitAnswer(True, False, alone, why)
    return FitAnswer(True, True, now, f"It fits now: {now.why}.")
