"""LoRA adapters: models of their own whose setting `base_model` names the model that they change."""

from __future__ import annotations

from inference_service.engines.model_settings import ModelSettings
from jan.errors import FailedPreconditionError, NotFoundError
from jan.inference.v1.jobs_pb2 import BaseModel, ModelSpec


def base_of(spec: ModelSpec) -> BaseModel | None:
    """The model that an adapter belongs to; None for what is a whole model.

    Raises NotFoundError: there is none with that id. FailedPreconditionError: it is its own base, or not of its engine.
    """
    base_id = ModelSettings(spec.settings_json).text("base_model")
    if not base_id:
        return None
    told = ascii(base_id[:100])
    if not spec.HasField("base"):
        message = f"Model {spec.id} is a LoRA adapter of {told} (its setting base_model), and there is no such model."
        raise NotFoundError(message, code="model_file_missing")
    if spec.base.id == spec.id or spec.base.engine != spec.engine:
        why = "names itself" if spec.base.id == spec.id else f"is for {spec.base.engine or 'no engine'}"
        raise FailedPreconditionError(
            f"Model {spec.id} is a LoRA adapter for {spec.engine}, but its base_model {told} {why}; it must be a whole "
            f"model for {spec.engine}.",
            code="model_settings_invalid",
        )
    return spec.base
