from __future__ import annotations

import os
from pathlib import Path

import pytest

from inference_service.devices.declared import read_declared
from inference_service.devices.device import Device, DeviceKind


def test_devices_are_declared_as_text_or_file(tmp_path: Path) -> None:
    text = '[{"name": "RTX", "memory_gib": 24}, {"kind": "cpu", "id": "c", "memory_bytes": 100, "free_bytes": 60}]'
    (tmp_path / "devices.json").write_text(text)
    expected = (
        Device("gpu-0", DeviceKind.GPU, "RTX", 24 * 2**30, 24 * 2**30, "0"),
        Device("c", DeviceKind.CPU, "cpu", 100, 60),
    )
    for value in (text, str(tmp_path / "devices.json")):
        inventory = read_declared(value)
        assert inventory.devices([1]) == expected
        assert inventory.measure(os.getsid(0), DeviceKind.CPU) > 0
        assert inventory.measure(os.getsid(0), DeviceKind.GPU) == 0


@pytest.mark.parametrize(
    "value",
    [
        "[]",
        "[1]",
        "[{}]",
        "{}",
        "nowhere.json",
        '[{"memory_gib": "24"}]',
        '[{"memory_gib": -1}]',
        '[{"memory_bytes": 1.5}]',
        '[{"memory_bytes": true}]',
        '[{"memory_gib": 1, "kind": "tpu"}]',
        '[{"memory_gib": 1, "colour": "red"}]',
        '[{"memory_gib": 1, "id": ""}]',
        '[{"memory_gib": 1, "id": "x"}, {"memory_gib": 1, "id": "x"}]',
        "[" + ",".join(['{"memory_gib": 1}'] * 65) + "]",
    ],
)
def test_what_cannot_be_used_is_told(value: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|must|names) "):
        read_declared(value)


def test_one_device_alone_is_no_path() -> None:
    with pytest.raises(ValueError, match=r"^must be a list of 1 to 64 devices$"):
        read_declared('{"kind": "cpu"}')
