"""This host, looked at: its GPUs, and its CPUs with their RAM."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference_service.devices.device import Device, DeviceKind
from inference_service.devices.memory import CGROUPS, PROC, ram, resident_bytes, session_members
from inference_service.devices.nvml import nvidia_gpus, used_by


@dataclass(frozen=True, slots=True)
class HostInventory:
    """The devices that are really here; `nvml` is the package pynvml, or None."""

    nvml: Any = None
    visible: str | None = None
    """Our own CUDA_VISIBLE_DEVICES."""
    proc: Path = PROC
    cgroups: Path = CGROUPS

    def devices(self, own: Collection[int]) -> tuple[Device, ...]:
        """GPUs, then the CPUs as one device."""
        members = session_members(own, self.proc)
        memory = ram(members, self.proc, self.cgroups)
        name = f"{_cpu_name(self.proc)}, {_cores()} cores"
        cpu = Device("cpu", DeviceKind.CPU, name, memory.total_bytes, memory.available_bytes)
        return (*nvidia_gpus(self.nvml, members, self.visible), cpu)

    def measure(self, engine: int, kind: DeviceKind) -> int:
        """Bytes that an engine and all it started hold: mapped files of weights too, which it reads again and again."""
        members = session_members({engine}, self.proc)
        if kind is DeviceKind.GPU:
            return used_by(self.nvml, members)
        return sum(resident_bytes(pid, self.proc) for pid in members)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_name(proc: Path) -> str:
    try:
        lines = (proc / "cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return "CPU"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")
