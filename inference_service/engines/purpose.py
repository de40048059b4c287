"""What a model is loaded for, told by its settings: chats or embeddings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from inference_service.engines.model_settings import ModelSettings
from jan.errors import FailedPreconditionError, InvalidArgumentError
from jan.inference.v1 import jobs_pb2

_LOADED_HERE: Final = ("llamacpp", "vllm")


def check_purpose(spec: jobs_pb2.ModelSpec, endpoint: jobs_pb2.Endpoint.ValueType) -> None:
    """Refuse what a model cannot answer before anything is loaded, or unloaded, for it.

    Raises InvalidArgumentError. Settings that cannot be read are left to the load, which then tells of them.
    """
    if spec.engine not in _LOADED_HERE:
        return
    try:
        embedding = ModelSettings(spec.settings_json).flag("embedding", False)
    except FailedPreconditionError:
        return
    if endpoint == jobs_pb2.ENDPOINT_EMBEDDINGS:
        check_embeds(embedding, spec.id)
    elif embedding and spec.engine == "vllm":
        raise InvalidArgumentError(f"Model {spec.id} computes embeddings; it writes no text.", param="model")


def check_embeds(embedding: bool, model_id: str) -> None:
    """Raises InvalidArgumentError: a model is asked for embeddings whose setting `embedding` is not true."""
    if not embedding:
        message = f'Model {model_id} computes no embeddings: set "embedding": true in the settings of its model.json.'
        raise InvalidArgumentError(message, param="model")


def refuse_suffix(request: Mapping[str, Any]) -> None:
    """Raises InvalidArgumentError: a text is to be filled in before another, which an engine here cannot do."""
    if request.get("suffix"):
        message = (
            "vLLM cannot fill in text before a suffix. Leave 'suffix' out, or ask a GGUF model that has tokens for it "
            "(FIM), such as a Qwen Coder."
        )
        raise InvalidArgumentError(message, param="suffix", code="unsupported_parameter")
