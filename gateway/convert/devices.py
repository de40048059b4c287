"""Devices, and whether a model fits on them, as JSON."""

from __future__ import annotations

from typing import Any

from gateway.convert.models import placement_from_proto
from gateway.models.lookup import model_spec
from gateway.schemas.models import FitModel, PlannedDevice
from jan.formats.description import ModelDescription
from jan.inference.v1 import control_pb2
from jan.storage.v1 import models_pb2

_KINDS = {"gpu": control_pb2.DEVICE_KIND_GPU, "cpu": control_pb2.DEVICE_KIND_CPU}
_KIND_NAMES = {kind: name for name, kind in _KINDS.items()}


def device_from_proto(host: str, device: control_pb2.Device) -> dict[str, Any]:
    """A device of an engine host, with what models hold of it."""
    return {
        "id": device.id,
        "object": "device",
        "host": host,
        "kind": _KIND_NAMES.get(device.kind, "unknown"),
        "name": device.name,
        "memory_bytes": device.memory_bytes,
        "free_bytes": device.free_bytes,
        "reserved_bytes": sum(model.size_bytes for model in device.models),
        "models": [{"id": model.model_id, "size_bytes": model.size_bytes} for model in device.models],
    }


def fit_request(model: models_pb2.Model, asked: FitModel) -> control_pb2.FitModelRequest:
    """The question whether a model fits, for the engine hosts."""
    request = control_pb2.FitModelRequest(model=model_spec(model), ctx_len=asked.ctx_len, n_parallel=asked.n_parallel)
    for device in asked.devices or ():
        if isinstance(device, PlannedDevice):
            request.devices.append(_planned(device))
        else:
            request.device_ids.append(device)
    return request


def sizes_to_proto(described: ModelDescription) -> control_pb2.ModelSizes:
    """What a model's headers say, for the engine hosts."""
    return control_pb2.ModelSizes(
        weights_bytes=described.weights_bytes,
        layers=described.layers,
        attention_heads=described.attention_heads,
        kv_heads=described.kv_heads,
        kv_elements=described.kv_elements,
        embedding_length=described.embedding_length,
        vocabulary=described.vocabulary,
        context_tokens=described.context_tokens,
    )


def fit_from_proto(model_id: str, answer: control_pb2.FitModelResponse) -> dict[str, Any]:
    """Whether a model fits; `needs` in bytes, overhead on each device."""
    return {
        "id": model_id,
        "object": "model.fit",
        "fits": answer.fits,
        "fits_now": answer.fits_now,
        "needs": {
            "weights": answer.needs.weights_bytes,
            "kv_cache": answer.needs.kv_cache_bytes,
            "overhead": answer.needs.overhead_bytes,
            "total": answer.needs.total_bytes,
        },
        "placement": placement_from_proto(answer.placement) if answer.HasField("placement") else None,
        "why": answer.why,
        "ctx_len": answer.ctx_len or None,
        "n_parallel": answer.n_parallel or None,
        "measured": answer.measured,
        "host": answer.host,
    }


def _planned(device: PlannedDevice) -> control_pb2.Device:
    return control_pb2.Device(
        id=device.id,
        kind=_KINDS[device.kind],
        name=device.name,
        memory_bytes=device.memory_bytes,
        free_bytes=device.free_bytes or device.memory_bytes,
    )
