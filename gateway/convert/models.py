"""Models from storage's records to OpenAI's objects."""

from __future__ import annotations

from typing import Any

from gateway.convert.json_fields import from_text
from gateway.convert.times import seconds
from jan.storage.v1 import models_pb2


def model_from_proto(model: models_pb2.Model) -> dict[str, Any]:
    """OpenAI's `model`; Jan's fields follow. Where weights lie and whom a remote model asks stays with the server."""
    return {
        "id": model.id,
        "object": "model",
        "created": seconds(model.created_at),
        "owned_by": model.owned_by,
        "name": model.name,
        "description": model.description,
        "version": model.version,
        "engine": model.engine,
        "format": model.format,
        "settings": from_text(model.settings_json, {}),
        "parameters": from_text(model.parameters_json, {}),
        "metadata": from_text(model.metadata_json, {}),
    }
