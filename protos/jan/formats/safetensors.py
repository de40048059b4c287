"""safetensors headers: eight bytes of length, a JSON object of tensors, then their bytes without gaps.

The reference reader refuses gaps and overlaps (safetensors, README "Format"); so do we, before an engine maps the file.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any, BinaryIO, Final

from jan.formats.description import LyingHeaderError

_LENGTH = struct.Struct("<Q")
_MAX_HEADER_BYTES: Final = 32 * 1024 * 1024  # a quarter of a million tensors; the reference reader takes 100 MB
_MAX_DIMENSION: Final = 2**48
_MAX_DIMENSIONS: Final = 16
_METADATA = "__metadata__"

# Bits of one element (safetensors' Dtype).
_BITS: Final = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "F64": 64,
    "I64": 64,
    "U64": 64,
    "C64": 64,
}


def read_safetensors(file: BinaryIO, size_bytes: int) -> int:
    """The bytes of all tensors; `size_bytes` is the whole file's size, though `file` may hold its header only.

    Raises LyingHeaderError: the header cannot be true of a file of that size. OSError.
    """
    head = file.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise LyingHeaderError("it is cut off")
    (length,) = _LENGTH.unpack(head)
    if length > min(_MAX_HEADER_BYTES, size_bytes - _LENGTH.size):
        raise LyingHeaderError("its header is longer than the file, or than any header")
    data = file.read(length)
    if len(data) < length:
        raise LyingHeaderError("it is cut off")
    tensors = _parse(data)
    extents = sorted(_extent(tensor) for name, tensor in tensors.items() if name != _METADATA)
    end = 0
    for begin, stop in extents:
        if begin != end:
            raise LyingHeaderError("two tensors overlap" if begin < end else "there is a gap between two tensors")
        end = stop
    if end != size_bytes - _LENGTH.size - length:
        raise LyingHeaderError("its tensors do not fill it: it is cut off, or holds more than its header says")
    return end


def _parse(data: bytes) -> dict[str, Any]:
    try:
        tensors = json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise LyingHeaderError("its header is not JSON") from None
    if not isinstance(tensors, dict):
        raise LyingHeaderError("its header is not a JSON object")
    return tensors


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise LyingHeaderError("its header names two tensors alike")
    return found


def _extent(tensor: Any) -> tuple[int, int]:
    """Where a tensor begins and ends."""
    if not isinstance(tensor, dict):
        raise LyingHeaderError("a tensor is not described by an object")
    offsets, shape, dtype = _counts(tensor.get("data_offsets")), _counts(tensor.get("shape")), tensor.get("dtype")
    if offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise LyingHeaderError("a tensor has no usable offsets")
    if shape is None or len(shape) > _MAX_DIMENSIONS or not isinstance(dtype, str):
        raise LyingHeaderError("a tensor has no usable shape")
    if any(count > _MAX_DIMENSION for count in shape):
        raise LyingHeaderError("a tensor is larger than the file")
    begin, end = offsets
    bits = _BITS.get(dtype)
    if bits is not None and math.prod(shape) * bits != (end - begin) * 8:
        raise LyingHeaderError("a tensor's shape and its size differ")
    return begin, end


def _counts(value: Any) -> list[int] | None:
    good = isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)
    return value if good else None
