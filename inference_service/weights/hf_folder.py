"""A safetensors model as an engine loads it: a folder, and an adapter's folder on top of it if there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inference_service.weights.adapters import base_of
from inference_service.weights.files import WeightHomes
from jan.errors import FailedPreconditionError
from jan.formats.description import LyingHeaderError
from jan.formats.hf_folder import HfModel, read_hf_folder, read_lora_folder
from jan.formats.hf_templates import chat_templates
from jan.formats.hf_tokens import special_tokens
from jan.inference.v1.jobs_pb2 import ModelSpec


@dataclass(frozen=True, slots=True)
class SafetensorsModel:
    """What an engine is to load: a folder, and on top of it an adapter's folder of a certain rank, if there is one.

    special_tokens: what its tokenizer reads as more than text. templates: all its chat templates by name.
    """

    base: HfModel
    adapter: Path | None = None
    adapter_rank: int = 0
    special_tokens: Sequence[str] = ()
    templates: Mapping[str, str] = field(default_factory=dict)


def read_model(spec: ModelSpec, homes: WeightHomes) -> SafetensorsModel:
    """The model's own folder; with the setting `base_model` that model's, and its own as the adapter.

    Raises as `read_hf_folder` and `base_of`. FailedPreconditionError: a folder lies elsewhere.
    """
    own = homes.folder(spec.id, spec.folder)
    named = base_of(spec)
    adapter, rank = (own, read_lora_folder(own, spec.id)) if named else (None, 0)
    base_id, folder = (named.id, homes.folder(named.id, named.folder)) if named else (spec.id, own)
    _check_whole(folder, base_id, is_base=named is not None)
    base = read_hf_folder(folder, base_id)
    try:
        templates = chat_templates(base.folder)
        return SafetensorsModel(base, adapter, rank, special_tokens(base.folder, templates.values()), templates)
    except (LyingHeaderError, OSError) as reason:
        message = f"Model {base_id} is not usable: {reason}."
        raise FailedPreconditionError(message, code="model_file_invalid") from None


def _check_whole(folder: Path, model_id: str, *, is_base: bool) -> None:
    if (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
        what = "so it is no base of another" if is_base else "which its setting base_model must name the model of"
        raise FailedPreconditionError(f"Model {model_id} is a LoRA adapter, {what}.", code="model_file_invalid")
