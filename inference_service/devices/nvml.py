"""NVIDIA GPUs, asked of the driver through NVML. No driver, no card and no answer all mean: no GPUs."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any

from inference_service.devices.device import Device, DeviceKind
from jan.telemetry import get_logger

logger = get_logger(__name__)


def load_nvml() -> Any:
    """The package nvidia-ml-py; None where it is not installed."""
    try:
        import pynvml  # noqa: PLC0415  # only where an inventory is taken
    except ImportError:
        return None
    return pynvml


def nvidia_gpus(nvml: Any, own: Collection[int], visible: str | None = None) -> tuple[Device, ...]:
    """Every GPU, in the order of PCI buses.

    nvml: the package `pynvml`, None for no GPUs. own: processes whose memory counts as free. visible: this process'
    own CUDA_VISIBLE_DEVICES, which hides GPUs from its children too; None shows all.
    """
    if nvml is None:
        return ()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return ()
    try:
        count = nvml.nvmlDeviceGetCount()
        found = [gpu for index in range(count) if (gpu := _gpu(nvml, index, own, visible)) is not None]
    except nvml.NVMLError as error:
        logger.warning("the GPUs cannot be counted", reason=str(error))
        return ()
    finally:
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()
    return tuple(found)


def used_by(nvml: Any, processes: Collection[int]) -> int:
    """Bytes of GPU memory that processes hold; 0 where the driver does not tell."""
    if nvml is None or not processes:
        return 0
    try:
        nvml.nvmlInit()
        try:
            handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
            return sum(_held(nvml, handle, processes) for handle in handles)
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError:
        return 0


def _gpu(nvml: Any, index: int, own: Collection[int], visible: str | None) -> Device | None:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        uuid = _text(nvml.nvmlDeviceGetUUID(handle))
        if visible is not None and not _is_visible(index, uuid, visible):
            return None
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        name = _text(nvml.nvmlDeviceGetName(handle))
        free = min(int(memory.total), int(memory.free) + _held(nvml, handle, own))
    except nvml.NVMLError as error:
        # A card that fell off the bus, or one that has no memory of its own to tell.
        logger.warning("a GPU is left out", index=index, reason=str(error))
        return None
    return Device(f"gpu-{index}", DeviceKind.GPU, name, int(memory.total), free, str(index))


def _held(nvml: Any, handle: Any, processes: Collection[int]) -> int:
    """What processes hold of one GPU. In a container the driver may know them by other numbers: then 0."""
    if not processes:
        return 0
    try:
        running = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except nvml.NVMLError:
        return 0
    return sum(int(process.usedGpuMemory or 0) for process in running if process.pid in processes)


def _is_visible(index: int, uuid: str, visible: str) -> bool:
    """Whether CUDA_VISIBLE_DEVICES names a GPU, by its number or the beginning of its UUID."""
    for name in visible.split(","):
        wanted = name.strip()
        if wanted == str(index) or (wanted.startswith("GPU-") and uuid.startswith(wanted)):
            return True
    return False


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
