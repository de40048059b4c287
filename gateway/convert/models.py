"""Models from storage's records to OpenAI's objects."""

from __future__ import annotations

from typing import Any

from gateway.convert.json_fields import from_text
from gateway.convert.times import seconds
from jan.inference.v1 import control_pb2
from jan.storage.v1 import models_pb2

_STATE_PREFIX = "MODEL_STATE_"


def model_from_proto(model: models_pb2.Model, status: control_pb2.ModelStatus | None = None) -> dict[str, Any]:
    """OpenAI's `model`; Jan's fields follow. Where weights lie and whom a remote model asks stays with the server.

    status: what an engine host says; None for a model at rest. Its warnings name settings that are not honoured.
    """
    status = status or control_pb2.ModelStatus(state=control_pb2.MODEL_STATE_READY)
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
        "state": control_pb2.ModelState.Name(status.state).removeprefix(_STATE_PREFIX).lower(),
        "warnings": [*status.warnings],
        "error": {"code": status.error.code, "message": status.error.message} if status.HasField("error") else None,
    }
