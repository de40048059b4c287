"""A safetensors model as an engine loads it: a folder, and an adapter's folder on top of it if there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inference_service.engines.model_settings import ModelSettings
from inference_service.weights import WeightHomes
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

    Raises as `read_hf_folder`. FailedPreconditionError: a folder lies elsewhere.
    """
    own = homes.folder(spec.id, spec.folder)
    base_id = ModelSettings(spec.settings_json).text("base_model")
    adapter, rank = (own, read_lora_folder(own, spec.id)) if base_id else (None, 0)
    base = read_hf_folder(homes.folder(base_id, "") if base_id else own, base_id or spec.id)
    try:
        return SafetensorsModel(base, adapter, rank, special_tokens(base.folder), chat_templates(base.folder))
    except (LyingHeaderError, OSError) as reason:
        message = f"Model {base_id or spec.id} is not usable: {reason}."
        raise FailedPreconditionError(message, code="model_file_invalid") from None
