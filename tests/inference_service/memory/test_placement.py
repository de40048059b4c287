"""Where a copy of a model goes. GPUs here are declared: the plan is what is tested."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from inference_service.devices.device import Device, DeviceKind
from inference_service.memory.fit import Footprint
from inference_service.memory.placement import Demand, Placement, choose, why_not

GIB = 2**30
BOTH = (DeviceKind.GPU, DeviceKind.CPU)


def gpu(number: int, gib: float, name: str = "A") -> Device:
    return Device(f"gpu-{number}", DeviceKind.GPU, name, int(gib * GIB), int(gib * GIB), str(number))


def cpu(gib: float = 64) -> Device:
    return Device("cpu", DeviceKind.CPU, "CPU", int(gib * GIB), int(gib * GIB))


def demand(
    weights_gib: float,
    *,
    kv_gib: float = 0,
    overhead_gib: float = 0,
    heads: int = 32,
    kv_heads: int = 8,
    layers: int = 32,
    kinds: tuple[DeviceKind, ...] = BOTH,
    shards: bool = True,
    model_id: str = "m",
) -> Demand:
    parts = (int(weights_gib * GIB), int(kv_gib * GIB), int(overhead_gib * GIB))
    footprint = Footprint(*parts, layers=layers, attention_heads=heads, kv_heads=kv_heads)
    return Demand(model_id, footprint, kinds, shards)


def free(devices: Sequence[Device]) -> dict[str, int]:
    return {device.id: device.free_bytes for device in devices}


def placed(wanted: Demand, *devices: Device) -> Placement | None:
    return choose(wanted, devices, free(devices))


def ids(placement: Placement | None) -> list[str]:
    return [share.device.id for share in placement.shares] if placement is not None else []


def test_one_gpu_is_enough_when_it_is_enough_and_large_ones_stay_free() -> None:
    placement = placed(demand(10, kv_gib=2), gpu(0, 80), gpu(1, 24), gpu(2, 16), cpu())
    assert placement is not None
    assert (ids(placement), placement.tensor_parallel, placement.visible_devices) == (["gpu-2"], 1, "2")
    assert placement.why == "fits on gpu-2 (A): 12.0 GiB of 16.0 GiB free"


def test_tensor_parallel_only_when_one_gpu_is_too_small_and_over_as_few_as_will_do() -> None:
    four = [gpu(number, 24) for number in range(4)]
    two = placed(demand(40, kv_gib=4), *four)
    assert two is not None
    assert (ids(two), two.tensor_parallel) == (["gpu-0", "gpu-1"], 2)
    assert two.why.startswith("no GPU alone has 44.0 GiB free; tensor parallel over 2 equal GPUs (gpu-0, gpu-1), 22.0")
    assert ids(placed(demand(80), *four)) == ["gpu-0", "gpu-1", "gpu-2", "gpu-3"]


def test_kv_heads_that_are_too_few_are_repeated_on_each_gpu() -> None:
    four = [gpu(number, 24) for number in range(4)]
    placement = placed(demand(80, kv_gib=4, kv_heads=2), *four)
    assert placement is not None
    assert [share.size_bytes for share in placement.shares] == [22 * GIB] * 4


def test_what_heads_forbid_or_sizes_differ_becomes_a_pipeline_of_whole_layers() -> None:
    odd = placed(demand(40, heads=14, kv_heads=2, layers=28), gpu(0, 24), gpu(1, 24), gpu(2, 24))
    assert ids(odd) == ["gpu-0", "gpu-1"]  # 14 heads divide by two
    odd = placed(demand(40, heads=7, kv_heads=7, layers=28), gpu(0, 24), gpu(1, 24))
    assert odd is not None
    assert (odd.tensor_parallel, odd.stage_layers) == (1, (14, 14))
    mixed = placed(demand(60, layers=60), gpu(0, 48, "B"), gpu(1, 24), cpu(1))
    assert mixed is not None
    assert mixed.stage_layers == (40, 20)
    assert mixed.visible_devices == "0,1"
    assert "a pipeline: 40 layers on gpu-0, 20 layers on gpu-1" in mixed.why


def test_the_cpu_comes_last_and_only_for_engines_that_can() -> None:
    devices = (gpu(0, 8), cpu(64))
    placement = placed(demand(20, shards=False), *devices)
    assert placement is not None
    assert (ids(placement), placement.visible_devices) == (["cpu"], "")
    assert placement.why.endswith("; no GPU has room")
    assert placed(demand(20, kinds=(DeviceKind.GPU,)), *devices) is None
    only_cpu = placed(demand(1, kinds=(DeviceKind.CPU,)), *devices)
    assert only_cpu is not None
    assert only_cpu.why.endswith("; its engine runs on the CPU only")


def test_a_child_sees_its_own_gpus_and_no_others() -> None:
    placement = placed(demand(10), gpu(3, 24))
    assert placement is not None
    assert placement.environment == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "3"}


def test_what_is_missing_is_said_with_the_numbers() -> None:
    devices = (gpu(0, 24), gpu(1, 24))
    assert why_not(demand(80, kv_gib=40), devices, free(devices)) == (
        "it needs 120.0 GiB (weights 80.0 GiB, KV cache 40.0 GiB, overhead 0 MiB), and gpu-1 has 24.0 GiB for it; "
        "split over 2 devices it does not fit either; a smaller ctx_len or n_parallel needs less"
    )
    assert why_not(demand(1, kinds=(DeviceKind.GPU,)), [cpu()], free([cpu()])) == (
        "its engine runs on gpu only, and this host has none"
    )


devices_drawn = st.lists(st.tuples(st.sampled_from("AB"), st.integers(4, 80)), min_size=1, max_size=9).map(
    lambda drawn: [gpu(place, gib, name) for place, (name, gib) in enumerate(drawn)]
)


demands_drawn = st.builds(
    demand,
    st.integers(1, 400),
    kv_gib=st.integers(0, 100),
    overhead_gib=st.just(0.5),
    heads=st.sampled_from([1, 7, 12, 32, 64]),
    kv_heads=st.sampled_from([1, 2, 8]),
    layers=st.integers(1, 80),
)


@given(devices=devices_drawn, wanted=demands_drawn, used=st.lists(st.integers(0, 40), min_size=9, max_size=9))
def test_no_device_is_given_more_than_it_has_and_nothing_is_lost(
    devices: list[Device], wanted: Demand, used: list[int]
) -> None:
    room = {device.id: device.free_bytes - taken * GIB for device, taken in zip(devices, used, strict=False)}
    needs = wanted.footprint
    placement = choose(wanted, devices, room)
    assert choose(wanted, list(reversed(devices)), room) == placement
    if placement is None:
        assert all(wanted.footprint.total_bytes > size for size in room.values())
        assert why_not(wanted, devices, room)
        return
    assert len({share.device.id for share in placement.shares}) == len(placement.shares)
    assert all(share.size_bytes <= room[share.device.id] for share in placement.shares)
    held = sum(share.size_bytes for share in placement.shares)
    assert held >= needs.weights_bytes + needs.kv_cache_bytes
    ways = placement.tensor_parallel
    if ways > 1:
        assert ways & (ways - 1) == 0
        assert needs.attention_heads % ways == 0
        assert all(share.device.equals(placement.shares[0].device) for share in placement.shares)
        assert max(room.values()) < needs.total_bytes
    if placement.stage_layers:
        assert sum(placement.stage_layers) == needs.layers
        assert min(placement.stage_layers) >= 1
