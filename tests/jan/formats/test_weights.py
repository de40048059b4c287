from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jan.errors import FailedPreconditionError
from jan.formats.weights import check_gguf


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def tensor(*dimensions: int, offset: int = 0) -> bytes:
    sizes = struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
    return text(b"weights") + sizes + struct.pack("<IQ", 0, offset)


def gguf(
    *, magic: bytes = b"GGUF", version: int = 3, tensors: int = 1, pairs: int = 1, body: bytes | None = None
) -> bytes:
    pair = text(b"general.name") + struct.pack("<I", 8) + text(b"demo")
    return struct.pack("<4sIQQ", magic, version, tensors, pairs) + (body or pair + tensor(4, 2)) + bytes(64)


def check(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    check_gguf(path)


def test_the_demo_model_passes(demo_gguf: Path) -> None:
    check_gguf(demo_gguf)


def test_a_small_honest_file_passes(tmp_path: Path) -> None:
    check(tmp_path, gguf())


@pytest.mark.parametrize(
    "lie",
    [
        b"",
        b"GGUF",
        gguf(magic=b"GGML"),
        gguf(version=1),
        gguf(version=99),
        gguf(tensors=2**60),
        gguf(pairs=2**63),
        gguf(tensors=5),
        gguf(pairs=0, body=tensor(2**62)),
        gguf(pairs=0, body=tensor(2**40, 2**40)),
        gguf(pairs=0, body=tensor(1, 1, 1, 1, 1)),
        gguf(pairs=0, body=tensor(4, offset=2**50)),
        gguf(pairs=0, body=text(b"n" * 65)),
        gguf(tensors=0, body=struct.pack("<Q", 2**63)),
        gguf(tensors=2, body=tensor(4, 2) + tensor(4, 2, offset=16)),
        gguf(tensors=0, pairs=70_000, body=bytes(70_000 * 13)),
        gguf(tensors=0, body=text(b"key") + struct.pack("<IIQ", 9, 8, 2**23) + bytes(2**26)),
        gguf(tensors=0, body=text(b"key") + struct.pack("<I", 77)),
        gguf(tensors=0, body=text(b"key") + struct.pack("<IQ", 8, 2**62)),
        gguf(tensors=0, body=text(b"key") + struct.pack("<IIQ", 9, 4, 2**62)),
        gguf(tensors=0, body=text(b"key") + struct.pack("<IIQIQ", 9, 9, 1, 9, 1)),
    ],
)
def test_a_lying_header_is_refused(tmp_path: Path, lie: bytes) -> None:
    with pytest.raises(FailedPreconditionError) as caught:
        check(tmp_path, lie)
    assert caught.value.code == "model_file_invalid"


@given(flips=st.lists(st.tuples(st.integers(0, 119), st.integers(0, 255)), max_size=6), length=st.integers(0, 160))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_file_gets_past_with_another_error(tmp_path: Path, flips: list[tuple[int, int]], length: int) -> None:
    data = bytearray(gguf())
    for place, value in flips:
        data[place] = value
    try:
        check(tmp_path, bytes(data[:length]))
    except FailedPreconditionError:
        return
