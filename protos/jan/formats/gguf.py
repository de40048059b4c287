"""GGUF headers: every count, length, dimension and offset is looked at before an engine parses the file.

Engines are written in C++ and have trusted lying headers before (CVE-2025-2439 in cortex.cpp, CVE-2026-7482 in Ollama).
Format: the gguf specification of ggml. A header may be read from the first megabytes of a file that is elsewhere.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, BinaryIO, Final

from jan.formats.description import LyingHeaderError, ModelDescription, checked

Value = int | str | tuple[int, ...]

_HEADER = struct.Struct("<4sIQQ")  # magic, version, tensor count, key-value count
_VERSIONS = (2, 3)
_MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
_MAX_NAME_BYTES = 64  # GGML_MAX_NAME; the gguf specification allows 64 for tensors
_MAX_KEY_BYTES = 65_535  # gguf specification
# Far beyond any model, and few enough to be walked through: a sparse file of zeros could claim billions.
_MAX_PAIRS = 65_536
_MAX_TENSORS = 262_144
_MAX_TEXTS = 2**22
_MAX_KEPT_TEXT_BYTES = 256
_MAX_KEPT_ITEMS = 10_000  # one for each layer
STRING: Final = 8
_ARRAY: Final = 9
_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_ITEMS = struct.Struct("<IQ")
_ALIGNMENT: Final = 32

# Element type -> elements and bytes of one block (ggml_type and its traits in ggml.c).
_BLOCKS: Final = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    9: (32, 36),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    15: (256, 292),
    16: (256, 66),
    17: (256, 74),
    18: (256, 98),
    19: (256, 50),
    20: (32, 18),
    21: (256, 110),
    22: (256, 82),
    23: (256, 136),
    24: (1, 1),
    25: (1, 2),
    26: (1, 4),
    27: (1, 8),
    28: (1, 8),
    29: (256, 56),
    30: (1, 2),
    34: (256, 54),
    35: (256, 66),
    39: (32, 17),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value begins in the file, a list at its first item; and the type of the value or of the items."""

    offset: int
    value_type: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """What is told of a tensor: its lengths, the fastest first, and its `ggml_type`."""

    lengths: tuple[int, ...]
    element_type: int

    @property
    def padded(self) -> tuple[int, ...]:
        """Its lengths in all dimensions that there are."""
        return self.lengths + (1,) * (_MAX_DIMENSIONS - len(self.lengths))


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What one file says: numbers, short texts and short lists of numbers by key; longer lists by their length.

    places: where values are, for those who need more of them (`gguf_texts.py`).
    """

    values: Mapping[str, Value]
    lengths: Mapping[str, int]
    tensor_bytes: int
    places: Mapping[str, Place] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


def read_gguf(file: BinaryIO, size_bytes: int) -> GgufHeader:
    """Read a header to its end; `size_bytes` is the whole file's size, though `file` may hold its beginning only.

    Raises LyingHeaderError: its numbers cannot be true of a file of that size. OSError.
    """
    return _Reader(file, size_bytes).read()


def describe_gguf(header: GgufHeader, more_bytes: int = 0) -> ModelDescription:
    """The model that a header describes; `more_bytes` are the tensors of further parts.

    Raises LyingHeaderError: a number that no model has.
    """
    architecture = str(header.values.get("general.architecture", ""))

    def number(key: str) -> int:
        value = header.values.get(f"{architecture}.{key}")
        return value if isinstance(value, int) else max(value, default=0) if isinstance(value, tuple) else 0

    layers, heads, width = number("block_count"), number("attention.head_count"), number("embedding_length")
    for count in (layers, heads, width):
        if count < 0 or count > 2**20:
            raise LyingHeaderError(f"it claims {count} layers, heads or dimensions")
    key_length = number("attention.key_length") or (width // heads if heads else 0)
    value_length = number("attention.value_length") or key_length
    kv_heads = header.values.get(f"{architecture}.attention.head_count_kv", heads)
    per_layer = kv_heads if isinstance(kv_heads, tuple) else (kv_heads,) * layers if isinstance(kv_heads, int) else ()
    latent = number("attention.kv_lora_rank")
    if latent and number("attention.key_length_mla"):  # multi-head latent attention keeps one short row a layer
        elements = layers * (latent + number("rope.dimension_count"))
    else:
        elements = sum(per_layer) * (key_length + value_length)
    return checked(
        ModelDescription(
            weights_bytes=header.tensor_bytes + more_bytes,
            layers=layers,
            attention_heads=heads,
            kv_heads=max(per_layer, default=0),
            kv_elements=elements,
            embedding_length=width,
            vocabulary=number("vocab_size") or header.lengths.get("tokenizer.ggml.tokens", 0),
            context_tokens=number("context_length"),
        )
    )


class _Reader:
    """A walk over magic, key-values and tensor descriptions that never reads or skips past the end of the file."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self._values: dict[str, Value] = {}
        self._lengths: dict[str, int] = {}
        self._places: dict[str, Place] = {}
        self._tensors: dict[str, Tensor] = {}

    def read(self) -> GgufHeader:
        magic, version, tensors, pairs = self._unpack(_HEADER)
        if magic != b"GGUF":
            raise LyingHeaderError("it does not begin with GGUF")
        if version not in _VERSIONS:
            raise LyingHeaderError(f"version {version} of the format is not supported")
        # A key-value takes at least 13 bytes, a tensor description at least 32: more than fit is a lie.
        if pairs * 13 + tensors * 32 > self._size_bytes or pairs > _MAX_PAIRS or tensors > _MAX_TENSORS:
            raise LyingHeaderError("it claims more entries than its size holds, or than any model has")
        for _ in range(pairs):
            self._pair()
        extents = sorted(self._tensor() for _ in range(tensors))
        self._check_extents(extents)
        tensor_bytes = sum(size for _, size in extents)
        return GgufHeader(self._values, self._lengths, tensor_bytes, self._places, self._tensors)

    def _pair(self) -> None:
        key = self._text(_MAX_KEY_BYTES, keep_bytes=_MAX_KEPT_TEXT_BYTES)
        value_type = self._number("<I")
        if value_type == _ARRAY:
            self._array(key)
        else:
            self._places[key] = Place(self._file.tell(), value_type)
            self._values[key] = self._value(value_type)

    def _check_extents(self, extents: list[tuple[int, int]]) -> None:
        alignment = self._values.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or not 0 < alignment <= 2**20:
            raise LyingHeaderError("its alignment is no alignment")
        data_bytes = self._size_bytes - -(-self._file.tell() // alignment) * alignment
        end = 0
        for offset, size in extents:
            if offset < end:
                raise LyingHeaderError("two tensors overlap")
            end = offset + size
        if extents and end > data_bytes:
            raise LyingHeaderError("it is cut off: tensors lie behind its end")

    def _tensor(self) -> tuple[int, int]:
        """A tensor's offset and size in bytes."""
        name = self._text(_MAX_NAME_BYTES, keep_bytes=_MAX_NAME_BYTES)
        dimensions = self._number("<I")
        if dimensions > _MAX_DIMENSIONS:
            raise LyingHeaderError(f"a tensor has {dimensions} dimensions")
        lengths = tuple(self._number("<Q") for _ in range(dimensions))
        elements = prod(lengths)
        # The densest format stores more than one bit for each element.
        if elements > self._size_bytes * 8:
            raise LyingHeaderError("a tensor is larger than the file")
        # Of a type that came after this table, an eighth of a byte for each element is known to be there.
        element_type = self._number("<I")
        self._tensors[name] = Tensor(lengths, element_type)
        block, block_bytes = _BLOCKS.get(element_type, (8, 1))
        return self._number("<Q"), -(-elements // block) * block_bytes

    def _value(self, value_type: int) -> Value:
        if value_type == STRING:
            return self._text(self._size_bytes, keep_bytes=_MAX_KEPT_TEXT_BYTES)
        if value_type not in _SCALARS:
            raise LyingHeaderError("a value has an unknown type")
        value = self._number("<" + _SCALARS[value_type])
        return value if isinstance(value, int) else 0  # no number with a fraction says a size

    def _array(self, key: str) -> None:
        item_type, count = self._unpack(_ITEMS)
        if count > self._size_bytes:
            raise LyingHeaderError("a list is longer than the file")
        self._lengths[key] = count
        self._places[key] = Place(self._file.tell(), item_type)
        if item_type in _SCALARS:
            self._scalars(key, struct.Struct("<" + _SCALARS[item_type]), count)
            return
        if item_type != STRING:
            raise LyingHeaderError("a value has an unknown type")
        if count > _MAX_TEXTS:
            raise LyingHeaderError("a list has more texts than any model")
        for _ in range(count):
            self._text(self._size_bytes)

    def _scalars(self, key: str, form: struct.Struct, count: int) -> None:
        if count > _MAX_KEPT_ITEMS:
            self._skip(form.size * count)
            return
        items = (self._unpack(form)[0] for _ in range(count))
        self._values[key] = tuple(item if isinstance(item, int) else 0 for item in items)

    def _text(self, max_bytes: int, keep_bytes: int = 0) -> str:
        """A text's beginning, at most so many bytes of it."""
        length = self._number("<Q")
        if length > max_bytes:
            raise LyingHeaderError("a text is longer than it may be")
        kept = self._take(min(length, keep_bytes))
        self._skip(length - len(kept))
        return kept.decode("utf-8", "replace")

    def _skip(self, count_bytes: int) -> None:
        if self._file.tell() + count_bytes > self._size_bytes:
            raise LyingHeaderError("it is cut off")
        self._file.seek(count_bytes, 1)

    def _number(self, form: str) -> Any:
        return self._unpack(struct.Struct(form))[0]

    def _unpack(self, form: struct.Struct) -> tuple[Any, ...]:
        return form.unpack(self._take(form.size))

    def _take(self, count_bytes: int) -> bytes:
        data = self._file.read(count_bytes)
        if len(data) < count_bytes:
            raise LyingHeaderError("it is cut off")
        return data
