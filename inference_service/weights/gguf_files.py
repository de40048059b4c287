"""A GGUF model as llama.cpp loads it: a file or all its parts, and an adapter's file on top of it if there is one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inference_service.weights.adapters import base_of
from inference_service.weights.files import WeightHomes, resolve_weights
from jan.errors import FailedPreconditionError, NotFoundError
from jan.inference.v1.jobs_pb2 import ModelSpec

_PART: Final = re.compile(
    r"(?P<stem>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})(?P<ending>\.gguf)", re.ASCII | re.IGNORECASE
)
_MOST_PARTS: Final = 500


@dataclass(frozen=True, slots=True)
class GgufFiles:
    """What is to be opened: the model, its first part first, and an adapter."""

    model: Sequence[Path]
    adapter: Path | None = None


def find_gguf(spec: ModelSpec, homes: WeightHomes) -> GgufFiles:
    """The files of a model; with the setting `base_model` that model's, and its own as the adapter.

    Raises NotFoundError: a file or a part is missing. FailedPreconditionError: see `resolve_weights` and `base_of`.
    """
    own = resolve_weights(homes.folder(spec.id, spec.folder), spec.id, spec.files)
    base = base_of(spec)
    if base is None:
        return GgufFiles(_all_parts(own, spec.id))
    return GgufFiles(
        _all_parts(resolve_weights(homes.folder(base.id, base.folder), base.id, base.files), base.id), own[0]
    )


def _all_parts(files: Sequence[Path], model_id: str) -> Sequence[Path]:
    """Of a model in parts all of them, from the first one on, whichever were named: llama.cpp opens all."""
    part = _PART.fullmatch(files[0].name)
    if part is None:
        return files
    count = int(part["count"])
    if not 0 < int(part["number"]) <= count <= _MOST_PARTS:
        message = f"{files[0].name} of model {model_id} cannot be a part of {count}."
        raise FailedPreconditionError(message, code="model_file_invalid")
    names = [f"{part['stem']}-{number:05}-of-{count:05}{part['ending']}" for number in range(1, count + 1)]
    for name in names:
        if not files[0].with_name(name).is_file():
            message = f"The file {name} of model {model_id} is missing: the model has {count} parts."
            raise NotFoundError(message, code="model_file_missing")
    return [files[0].with_name(name) for name in names]
