from __future__ import annotations

import io
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jan.formats.description import LyingHeaderError
from jan.formats.safetensors import read_safetensors


def tensor(begin: int, end: int, shape: list[int], dtype: str = "F16") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def file(header: Any, data_bytes: int = 0, *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(data_bytes)


def read(data: bytes) -> int:
    return read_safetensors(io.BytesIO(data), len(data))


def test_the_sizes_of_all_tensors_are_summed_up() -> None:
    header = {
        "b": tensor(12, 20, [2, 2]),
        "a": tensor(0, 12, [3], "F32"),
        "empty": tensor(20, 20, [0, 5]),
        "scalar": tensor(20, 22, [], "BF16"),
        "__metadata__": {"format": "pt"},
    }
    assert read(file(header, 22)) == 22
    assert read(file({})) == 0


def test_a_header_may_be_read_before_the_file_is_there() -> None:
    whole = file({"a": tensor(0, 1000, [500])}, 1000)
    assert read_safetensors(io.BytesIO(whole[:200]), len(whole)) == 1000


@pytest.mark.parametrize(
    "lie",
    [
        b"",
        b"\1\0\0\0",
        file({}, length=2**63),
        file({}, length=50),
        file(b"{"),
        file(b"[]"),
        file(b"[" * 100_000),
        file(b'{"a": 1, "a": 2}'),
        file({"a": 1}),
        file({"a": {}}),
        file({"a": tensor(0, 8, [4])}, 7),
        file({"a": tensor(0, 8, [4])}, 9),
        file({"a": tensor(0, 8, [4]), "b": tensor(4, 12, [4])}, 12),
        file({"a": tensor(0, 8, [4]), "b": tensor(10, 18, [4])}, 18),
        file({"a": tensor(8, 0, [4])}, 8),
        file({"a": tensor(0, 8, [5])}, 8),
        file({"a": tensor(0, 0, [2**63, 2**63])}),
        file({"a": tensor(0, 8, [2**63], "NEW")}, 8),
        file({"a": tensor(0, 8, [-4])}, 8),
        file({"a": tensor(0, 8, [4.0])}, 8),  # type: ignore[list-item]
        file({"a": tensor(0, 8, [True] * 4)}, 8),
        file({"a": tensor(0, 2, [1] * 17)}, 2),
        file({"a": {"dtype": "F16", "shape": [4], "data_offsets": [0, 2**70]}}, 8),
        file({"a": {"dtype": 1, "shape": [4], "data_offsets": [0, 8]}}, 8),
    ],
)
def test_a_lying_header_is_refused(lie: bytes) -> None:
    with pytest.raises(LyingHeaderError):
        read(lie)


@given(flips=st.lists(st.tuples(st.integers(0, 90), st.integers(0, 255)), max_size=6), length=st.integers(0, 120))
def test_no_file_gets_past_with_another_error(flips: list[tuple[int, int]], length: int) -> None:
    data = bytearray(file({"a": tensor(0, 8, [4]), "b": tensor(8, 12, [2])}, 12))
    for place, value in flips:
        data[place % len(data)] = value
    try:
        read(bytes(data[:length]))
    except LyingHeaderError:
        return
