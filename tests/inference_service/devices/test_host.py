"""This host as it is, hosts made of files, and a driver made of words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inference_service.devices.device import DeviceKind
from inference_service.devices.host import HostInventory
from inference_service.devices.memory import held_bytes, ram, resident_bytes, session_members
from inference_service.devices.nvml import load_nvml, nvidia_gpus, used_by

MIB = 2**20


def test_this_host_has_a_cpu_with_ram_and_no_gpu_is_no_error() -> None:
    *gpus, cpu = HostInventory(load_nvml()).devices([])
    assert all(gpu.kind is DeviceKind.GPU for gpu in gpus)
    assert (cpu.id, cpu.kind) == ("cpu", DeviceKind.CPU)
    assert 0 < cpu.free_bytes < cpu.memory_bytes <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert cpu.name.endswith(" cores")


def test_what_an_engine_holds_is_measured_with_what_it_started() -> None:
    code = "import os, sys; held = b'x' * (64 << 20); print(os.getpid(), flush=True); sys.stdin.read()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as engine:
        assert engine.stdout is not None
        worker = int(engine.stdout.readline())
        assert session_members({engine.pid}) == {engine.pid, worker}
        assert held_bytes(worker) >= 64 * MIB
        assert resident_bytes(worker) >= held_bytes(worker)
        assert HostInventory().measure(engine.pid, DeviceKind.CPU) >= 64 * MIB
        assert HostInventory().measure(engine.pid, DeviceKind.GPU) == 0
        engine.communicate()
    assert HostInventory().measure(engine.pid, DeviceKind.CPU) == 0


def machine(tmp_path: Path, *, total_mib: int = 1000, available_mib: int = 800, cgroup: str = "") -> tuple[Path, Path]:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    cgroups.mkdir()
    (proc / "meminfo").write_text(f"MemTotal: {total_mib * 1024} kB\nMemAvailable: {available_mib * 1024} kB\nX: 1\n")
    (proc / "self/cgroup").write_text(cgroup)
    return proc, cgroups


def limit(folder: Path, version: int, limit_mib: int | str, usage_mib: int, file_mib: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    limit_name, usage_name, prefix = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
        2: ("memory.max", "memory.current", ""),
    }[version]
    value = limit_mib if isinstance(limit_mib, str) else limit_mib * MIB
    (folder / limit_name).write_text(f"{value}\n")
    (folder / usage_name).write_text(f"{usage_mib * MIB}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{prefix}inactive_file {file_mib * MIB}\n{prefix}active_file 0\n")


def test_ram_is_what_the_machine_has_less_a_share_for_others(tmp_path: Path) -> None:
    memory = ram([], *machine(tmp_path))
    assert (memory.total_bytes, memory.available_bytes) == (1000 * MIB, 750 * MIB)


@pytest.mark.parametrize(
    ("version", "cgroup", "place"),
    [
        (2, "0::/user/app\n", "user"),
        (2, "0::/../outside\n", "."),
        (1, "4:memory:/docker/abc\n0::/\n", "memory/docker"),
        (1, "4:cpu,memory:/docker/abc\n", "memory"),
    ],
)
def test_a_limit_on_any_group_above_us_counts(tmp_path: Path, version: int, cgroup: str, place: str) -> None:
    proc, cgroups = machine(tmp_path, cgroup=cgroup)
    limit(cgroups / place, version, 400, usage_mib=300, file_mib=100)
    memory = ram([], proc, cgroups)
    assert (memory.total_bytes, memory.available_bytes) == (400 * MIB, 180 * MIB)


def test_no_limit_is_none(tmp_path: Path) -> None:
    proc, cgroups = machine(tmp_path, cgroup="4:memory:/a\n0::/a\n")
    limit(cgroups / "memory/a", 1, str(2**63 - 4096), 300, 100)
    limit(cgroups / "a", 2, "max", 300, 100)
    assert ram([], proc, cgroups).total_bytes == 1000 * MIB


def test_what_our_engines_hold_counts_as_free(tmp_path: Path) -> None:
    proc, cgroups = machine(tmp_path, available_mib=100)
    (proc / "7").mkdir()
    (proc / "7/status").write_text(f"Name: x\nVmRSS: {500 * 1024} kB\nRssAnon: {200 * 1024} kB\nRssShmem: 0 kB\n")
    assert ram([7, 8], proc, cgroups).available_bytes == 250 * MIB


class FakeNvml:
    """The parts of pynvml that are used, with two GPUs; `broken` ones answer with an error."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, driver: bool = True, broken: frozenset[int] = frozenset(), processes: bool = True) -> None:
        self.driver, self.broken, self.processes = driver, broken, processes

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.driver:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlShutdown(self) -> None:  # noqa: N802
        pass

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        if index in self.broken:
            raise self.NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return f"GPU-{handle}abc"

    def nvmlDeviceGetName(self, handle: int) -> bytes:  # noqa: N802
        return b"NVIDIA Test"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        return SimpleNamespace(total=24 << 30, free=(10 + handle) << 30)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:  # noqa: N802
        if not self.processes:
            raise self.NVMLError("Not Supported")
        mine, others = SimpleNamespace(pid=7, usedGpuMemory=6 << 30), SimpleNamespace(pid=8, usedGpuMemory=None)
        return [mine, others] if handle == 0 else []


def test_gpus_are_found_and_what_our_engines_hold_counts_as_free() -> None:
    first, second = nvidia_gpus(FakeNvml(), {7})
    assert (first.id, first.name, first.memory_bytes, first.visible_as) == ("gpu-0", "NVIDIA Test", 24 << 30, "0")
    assert (first.free_bytes, second.free_bytes) == (16 << 30, 11 << 30)
    assert used_by(FakeNvml(), {7, 8}) == 6 << 30
    assert used_by(FakeNvml(processes=False), {7}) == 0


@pytest.mark.parametrize(
    ("visible", "found"),
    [(None, [0, 1]), ("1", [1]), ("GPU-0", [0]), ("", []), ("-1", []), ("1, 0", [0, 1])],
)
def test_gpus_that_are_hidden_from_us_are_not_counted(visible: str | None, found: list[int]) -> None:
    assert [gpu.id for gpu in nvidia_gpus(FakeNvml(), [], visible)] == [f"gpu-{number}" for number in found]


def test_no_driver_means_no_gpus_and_a_lost_card_is_left_out() -> None:
    assert nvidia_gpus(None, []) == ()
    assert nvidia_gpus(FakeNvml(driver=False), []) == ()
    assert used_by(FakeNvml(driver=False), {7}) == 0
    assert [gpu.id for gpu in nvidia_gpus(FakeNvml(broken=frozenset({0})), [])] == ["gpu-1"]
