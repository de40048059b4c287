"""Models from storage's records and engine hosts' words to OpenAI's objects."""

from __future__ import annotations

from typing import Any

from gateway.completions.parameters import OF_REQUESTS, unused_parameters
from gateway.convert.json_fields import from_text, sent_to_text
from gateway.convert.times import seconds
from gateway.schemas.models import ModifyModel
from jan.inference.v1 import control_pb2
from jan.storage.v1 import models_pb2

_STATE_PREFIX = "MODEL_STATE_"
TO_DOWNLOAD = "to_download"


def model_from_proto(
    model: models_pb2.Model,
    status: control_pb2.ModelStatus | None = None,
    preview: control_pb2.ModelPreview | None = None,
) -> dict[str, Any]:
    """OpenAI's `model`; Jan's fields follow. Where weights lie and whom a remote model asks stays with the server.

    status: what an engine host says; None for a model at rest. Its warnings name settings that are not honoured, and
    parameters that are not are named beside them. preview: what a host would warn of at the first load; None when none
    answers.
    """
    if status is not None and _file_came(model, status):
        status = None
    at_rest = status is None
    told = control_pb2.ModelStatus(state=control_pb2.MODEL_STATE_READY)
    told.CopyFrom(status or told)
    if preview is not None and told.state == control_pb2.MODEL_STATE_READY and not told.warnings:
        told.warnings.extend(_forewarned(model, preview))
    parameters = from_text(model.parameters_json, {})
    unused = [
        f"Parameter {name} is not used."
        for name in unused_parameters(parameters, model.engine)
        if name not in OF_REQUESTS
    ]
    told.warnings.extend(unused)
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
        "parameters": parameters,
        "metadata": from_text(model.metadata_json, {}),
        "size_bytes": model.size_bytes if model.HasField("size_bytes") else None,
        "sees": model.sees,
        "ctx_len": preview.ctx_len or None if preview is not None else None,
        **_life(told),
        **({"state": TO_DOWNLOAD} if at_rest and model.missing_files else {}),
    }


def _forewarned(model: models_pb2.Model, preview: control_pb2.ModelPreview) -> list[str]:
    """What a load would warn of, and what would end it, but for files that are still to come."""
    ends = [preview.error.message] if preview.HasField("error") else []
    return [*preview.warnings, *([] if model.missing_files else ends)]


def _file_came(model: models_pb2.Model, status: control_pb2.ModelStatus) -> bool:
    """Whether what was to be downloaded was missing when a host looked last, and is here; the next load looks again."""
    is_whole = model.HasField("size_bytes") and not model.missing_files
    return status.error.code == "model_file_missing" and is_whole and any(source.url for source in model.sources)


def model_update(model_id: str, body: ModifyModel) -> models_pb2.UpdateModelRequest:
    """The change of a model's description that a request asks for."""
    return models_pb2.UpdateModelRequest(
        model_id=model_id,
        name=body.name,
        description=body.description,
        version=body.version,
        settings_json=sent_to_text(body.changed_settings(), "settings"),
        parameters_json=sent_to_text(body.changed_parameters(), "parameters"),
        metadata_json=sent_to_text(body.metadata or {}, "metadata"),
    )


def state_from_proto(status: control_pb2.ModelStatus) -> dict[str, Any]:
    """A change of a model, as an event's data."""
    return {"id": status.model_id, "object": "model.state", **_life(status)}


def placement_from_proto(placement: control_pb2.Placement) -> dict[str, Any]:
    """Where one copy of a model is, or would be."""
    return {
        "devices": [{"id": share.device_id, "size_bytes": share.size_bytes} for share in placement.shares],
        "tensor_parallel": placement.tensor_parallel or 1,
        "pipeline_layers": [*placement.stage_layers],
        "why": placement.why,
    }


def _life(status: control_pb2.ModelStatus) -> dict[str, Any]:
    return {
        "state": control_pb2.ModelState.Name(status.state).removeprefix(_STATE_PREFIX).lower(),
        "progress": round(status.progress, 2) if status.HasField("progress") else None,
        "activity": status.activity or None,
        "warnings": [*status.warnings],
        "error": {"code": status.error.code, "message": status.error.message} if status.HasField("error") else None,
        "placements": [placement_from_proto(placement) for placement in status.placements],
    }
