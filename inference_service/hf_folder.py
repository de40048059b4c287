"""A safetensors model as an engine loads it: a folder, and an adapter's folder on top of it if there is one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inference_service.engines.model_settings import ModelSettings
from inference_service.weights import WeightHomes
from jan.formats.hf_folder import HfModel, read_hf_folder, read_lora_folder
from jan.inference.v1.jobs_pb2 import ModelSpec


@dataclass(frozen=True, slots=True)
class SafetensorsModel:
    """What an engine is to load: a folder, and on top of it an adapter's folder of a certain rank, if there is one."""

    base: HfModel
    adapter: Path | None = None
    adapter_rank: int = 0


def read_model(spec: ModelSpec, homes: WeightHomes) -> SafetensorsModel:
    """The model's own folder; with the setting `base_model` that model's, and its own as the adapter.

    Raises as `read_hf_folder`. FailedPreconditionError: a folder lies elsewhere.
    """
    own = homes.folder(spec.id, spec.folder)
    base_id = ModelSettings(spec.settings_json).text("base_model")
    if not base_id:
        return SafetensorsModel(read_hf_folder(own, spec.id))
    rank = read_lora_folder(own, spec.id)
    return SafetensorsModel(read_hf_folder(homes.folder(base_id, ""), base_id), own, rank)
