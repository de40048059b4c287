"""What is told of a model before it is loaded: what its engine will not honour, and what would keep it from loading."""

from __future__ import annotations

from dataclasses import dataclass

from inference_service.engines.llamacpp import LlamaSettings
from inference_service.engines.openai import OpenAiEngine
from inference_service.engines.vllm_settings import VllmSettings
from jan.errors import JanError
from jan.inference.v1.jobs_pb2 import ModelSpec


@dataclass(frozen=True, slots=True)
class Preview:
    """warnings: as a load would tell them. error: what a load would end with. ctx_tokens: 0 when nobody here knows."""

    warnings: tuple[str, ...] = ()
    ctx_tokens: int = 0
    error: JanError | None = None


def unused_settings(spec: ModelSpec) -> tuple[str, ...]:
    """What of a model's settings its engine will not honour, wherever it is put, one sentence each.

    Raises FailedPreconditionError: settings that no engine can read, or a remote model without a URL.
    """
    match spec.engine:
        case "llamacpp":
            return LlamaSettings.parse(spec.settings_json).warnings
        case "vllm":
            return VllmSettings.parse(spec.settings_json).warnings
        case "openai":
            return OpenAiEngine(spec).warnings
        case _:
            return ()
