"""Model files: found strictly inside the models folder, and looked at before any engine parses them.

Engines are written in C++ and have trusted lying headers before (CVE-2025-2439 in cortex.cpp, CVE-2026-7482 in Ollama),
so a GGUF file whose counts and sizes cannot be true is refused here.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

from jan.errors import FailedPreconditionError, NotFoundError

_HEADER = struct.Struct("<4sIQQ")  # magic, version, tensor count, key-value count
_VERSIONS = (2, 3)
_MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
_MAX_NAME_BYTES = 64  # GGML_MAX_NAME; the gguf specification allows 64 for tensors
_MAX_KEY_BYTES = 65_535  # gguf specification
_STRING, _ARRAY = 8, 9
_SCALAR_BYTES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


_MODELS = "models/"
_JANS = ("llamacpp/models/", "mlx/models/")


@dataclass(frozen=True, slots=True)
class WeightHomes:
    """Where weights lie: the models folder, and below the janroot the folders that Jan 0.6 and later have instead."""

    models: Path
    janroot: Path

    def folder(self, model_id: str, folder: str) -> Path:
        """A model's own folder; `folder` is relative to the janroot, empty for `models/<id>`.

        Raises FailedPreconditionError: it leads elsewhere.
        """
        folder = folder or _MODELS + model_id
        if ".." in PurePosixPath(folder).parts or "\0" in folder:
            raise _invalid(f"Model {model_id} lies outside of the models folders.")
        if folder == _MODELS.rstrip("/") or folder.startswith(_MODELS):
            return self.models / folder.removeprefix(_MODELS.rstrip("/")).lstrip("/")
        if folder.startswith(_JANS):
            return self.janroot / folder
        raise _invalid(f"Model {model_id} lies outside of the models folders.")


def resolve_weights(folder: Path, model_id: str, files: Sequence[str]) -> list[Path]:
    """The files in a model's own folder as paths that exist.

    A file may be a link to somewhere else, as an operator with one big disk has them; its name in the model's record
    may not leave the model's folder. Raises FailedPreconditionError: such a name, or none at all. NotFoundError: no
    such file.
    """
    if not files:
        raise _invalid(f"Model {model_id} names no weight files.")
    return [_resolve(folder, model_id, name) for name in files]


def check_gguf(path: Path) -> None:
    """Read a GGUF file's header to its end and refuse it when its numbers cannot be true.

    Raises FailedPreconditionError: why the file is not a usable model.
    """
    try:
        with path.open("rb") as file:
            _Header(file, path.stat().st_size).check()
    except _LyingHeaderError as reason:
        raise _invalid(f"{path.name} is not a usable GGUF model: {reason}.") from None
    except OSError as error:
        raise _invalid(f"{path.name} cannot be read: {error.strerror}.") from None


def _resolve(folder: Path, model_id: str, name: str) -> Path:
    relative = PurePosixPath(name)
    if not name or relative.is_absolute() or ".." in relative.parts or "\\" in name or "\0" in name:
        raise _invalid(f"Model {model_id} names a file outside of its own folder.")
    path = folder / relative
    if not path.is_file():
        raise NotFoundError(f"The file {relative} of model {model_id} is missing.", code="model_file_missing")
    return path


def _invalid(message: str) -> FailedPreconditionError:
    return FailedPreconditionError(message, code="model_file_invalid")


class _LyingHeaderError(Exception):
    """What about the header cannot be true."""


class _Header:
    """A walk over magic, key-values and tensor descriptions that never reads or skips past the end of the file."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._size_bytes = size_bytes

    def check(self) -> None:
        magic, version, tensors, pairs = self._unpack(_HEADER)
        if magic != b"GGUF":
            raise _LyingHeaderError("it does not begin with GGUF")
        if version not in _VERSIONS:
            raise _LyingHeaderError(f"version {version} of the format is not supported")
        # A key-value takes at least 13 bytes, a tensor description at least 32: more than fit is a lie.
        if pairs * 13 + tensors * 32 > self._size_bytes:
            raise _LyingHeaderError("it claims more entries than its size holds")
        for _ in range(pairs):
            self._text(_MAX_KEY_BYTES)
            self._value(self._number("<I"))
        ends = [self._tensor_offset() for _ in range(tensors)]
        if ends and self._file.tell() + max(ends) >= self._size_bytes:
            raise _LyingHeaderError("it is cut off: tensors lie behind its end")

    def _tensor_offset(self) -> int:
        self._text(_MAX_NAME_BYTES)
        dimensions = self._number("<I")
        if dimensions > _MAX_DIMENSIONS:
            raise _LyingHeaderError(f"a tensor has {dimensions} dimensions")
        elements = 1
        for _ in range(dimensions):
            elements *= self._number("<Q")
        # The densest format stores more than one bit for each element.
        if elements > self._size_bytes * 8:
            raise _LyingHeaderError("a tensor is larger than the file")
        self._number("<I")  # its element type
        return self._number("<Q")

    def _value(self, value_type: int, depth: int = 0) -> None:
        if value_type == _STRING:
            self._text(self._size_bytes)
        elif value_type == _ARRAY and depth == 0:
            self._array()
        elif value_type in _SCALAR_BYTES:
            self._skip(_SCALAR_BYTES[value_type])
        else:
            raise _LyingHeaderError("a value has an unknown type")

    def _array(self) -> None:
        item_type, count = self._number("<I"), self._number("<Q")
        if count > self._size_bytes:
            raise _LyingHeaderError("a list is longer than the file")
        if item_type in _SCALAR_BYTES:
            self._skip(_SCALAR_BYTES[item_type] * count)
            return
        for _ in range(count):
            self._value(item_type, depth=1)

    def _text(self, max_bytes: int) -> None:
        length = self._number("<Q")
        if length > max_bytes:
            raise _LyingHeaderError("a text is longer than it may be")
        self._skip(length)

    def _skip(self, count_bytes: int) -> None:
        if self._file.tell() + count_bytes > self._size_bytes:
            raise _LyingHeaderError("it is cut off")
        self._file.seek(count_bytes, 1)

    def _number(self, form: str) -> int:
        number: int = self._unpack(struct.Struct(form))[0]
        return number

    def _unpack(self, form: struct.Struct) -> tuple[Any, ...]:
        data = self._file.read(form.size)
        if len(data) < form.size:
            raise _LyingHeaderError("it is cut off")
        return form.unpack(data)
