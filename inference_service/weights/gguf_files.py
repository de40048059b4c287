"""A GGUF model as llama.cpp loads it: a file or all its parts, an adapter's on top of it, and its eyes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from inference_service.engines.model_settings import parse_settings
from inference_service.weights.adapters import base_of
from inference_service.weights.files import WeightHomes, resolve_weights
from jan.errors import FailedPreconditionError, NotFoundError
from jan.formats.vision import is_projector, projector_among
from jan.inference.v1.jobs_pb2 import ModelSpec

_PART: Final = re.compile(
    r"(?P<stem>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})(?P<ending>\.gguf)", re.ASCII | re.IGNORECASE
)
_MOST_PARTS: Final = 500


@dataclass(frozen=True, slots=True)
class GgufFiles:
    """What is to be opened: the model, its first part first, an adapter, and what makes tokens of images (`mmproj`)."""

    model: Sequence[Path]
    adapter: Path | None = None
    projector: Path | None = None


def find_gguf(spec: ModelSpec, homes: WeightHomes) -> GgufFiles:
    """The files of a model; with the setting `base_model` that model's, and its own as the adapter.

    Raises NotFoundError: a file or a part is missing. FailedPreconditionError: see `resolve_weights` and `base_of`,
    or its settings cannot be read.
    """
    own = resolve_weights(homes.folder(spec.id, spec.folder), spec.id, spec.files)
    settings = parse_settings(spec.settings_json)
    base = base_of(spec)
    if base is None:
        return _with_projector(own, settings, spec.id)
    its_own = resolve_weights(homes.folder(base.id, base.folder), base.id, base.files)
    return replace(_with_projector(its_own, settings, base.id), adapter=own[0])


def _with_projector(files: Sequence[Path], settings: Mapping[str, Any], model_id: str) -> GgufFiles:
    """The weights apart from the projector, which is not loaded where the setting `vision_model` is false."""
    chosen = projector_among([path.name for path in files], settings)
    weights = [path for path in files if path.name != chosen and not is_projector(path.name)]
    if not weights:
        message = f"Model {model_id} has a projector for images, but no weights beside it."
        raise FailedPreconditionError(message, code="model_file_invalid")
    return GgufFiles(_all_parts(weights, model_id), projector=next((p for p in files if p.name == chosen), None))


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
