"""Models and devices as the control service tells them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from inference_service.devices.device import Device, DeviceKind
from inference_service.memory.fit import Footprint
from inference_service.memory.placement import Placement
from inference_service.memory.residency import Resident
from inference_service.models.model import ModelState, ModelStatus
from inference_service.models.preview import Preview
from jan.errors import InvalidArgumentError
from jan.formats.description import LyingHeaderError, ModelDescription, checked
from jan.inference.configurations import model_of
from jan.inference.v1 import control_pb2

_STATES: Final = {
    ModelState.READY: control_pb2.MODEL_STATE_READY,
    ModelState.STARTING: control_pb2.MODEL_STATE_STARTING,
    ModelState.RUNNING: control_pb2.MODEL_STATE_RUNNING,
    ModelState.STOPPING: control_pb2.MODEL_STATE_STOPPING,
    ModelState.ERROR: control_pb2.MODEL_STATE_ERROR,
}
_KINDS: Final = {DeviceKind.CPU: control_pb2.DEVICE_KIND_CPU, DeviceKind.GPU: control_pb2.DEVICE_KIND_GPU}
_MOST_DEVICES: Final = 64
_MOST_BYTES: Final = 2**50


def status_to_proto(status: ModelStatus) -> control_pb2.ModelStatus:
    """A model's status on the wire."""
    return control_pb2.ModelStatus(
        model_id=status.model_id,
        state=_STATES[status.state],
        error=status.error.to_detail() if status.error is not None else None,
        warnings=status.warnings,
        progress=status.progress,
        activity=status.activity,
        placements=map(placement_to_proto, status.placements),
    )


def preview_to_proto(preview: Preview) -> control_pb2.ModelPreview:
    """What is known of a model before it is loaded, on the wire."""
    return control_pb2.ModelPreview(
        warnings=preview.warnings,
        error=preview.error.to_detail() if preview.error is not None else None,
        ctx_len=min(preview.ctx_tokens, 2**32 - 1),
    )


def description_from_proto(sizes: control_pb2.ModelSizes) -> ModelDescription:
    """What a model's headers say. Raises InvalidArgumentError: a number that no model has."""
    try:
        return checked(
            ModelDescription(
                weights_bytes=sizes.weights_bytes,
                layers=sizes.layers,
                attention_heads=sizes.attention_heads,
                kv_heads=sizes.kv_heads,
                kv_elements=sizes.kv_elements,
                embedding_length=sizes.embedding_length,
                vocabulary=sizes.vocabulary,
                context_tokens=sizes.context_tokens,
            )
        )
    except LyingHeaderError as reason:
        raise InvalidArgumentError(f"The model cannot be: {reason}.") from None


def placement_to_proto(placement: Placement) -> control_pb2.Placement:
    """A placement on the wire."""
    shares = (control_pb2.Share(device_id=share.device.id, size_bytes=share.size_bytes) for share in placement.shares)
    return control_pb2.Placement(
        shares=shares,
        tensor_parallel=placement.tensor_parallel,
        stage_layers=placement.stage_layers,
        why=placement.why,
    )


def device_to_proto(device: Device, residents: Collection[Resident]) -> control_pb2.Device:
    """A device on the wire, with what `residents` hold of it."""
    models = (
        control_pb2.PlacedModel(model_id=model_of(resident.model_id), size_bytes=share.size_bytes)
        for resident in residents
        for share in resident.placement.shares
        if share.device.id == device.id
    )
    return control_pb2.Device(
        id=device.id,
        kind=_KINDS[device.kind],
        name=device.name,
        memory_bytes=device.memory_bytes,
        free_bytes=device.free_bytes,
        models=models,
    )


def needs_to_proto(footprint: Footprint) -> control_pb2.Needs:
    """What a model needs, on the wire."""
    return control_pb2.Needs(
        weights_bytes=footprint.weights_bytes,
        kv_cache_bytes=footprint.kv_cache_bytes,
        overhead_bytes=footprint.overhead_bytes,
        total_bytes=footprint.total_bytes,
    )


def devices_from_proto(devices: Iterable[control_pb2.Device]) -> tuple[Device, ...]:
    """Devices that a question describes; without an id they are numbered, and without free bytes all is free.

    Raises InvalidArgumentError: too many, too large, or two alike.
    """
    found = tuple(_device(device, place) for place, device in enumerate(devices))
    if len(found) > _MOST_DEVICES or len({device.id for device in found}) < len(found):
        message = f"There may be at most {_MOST_DEVICES} devices, each with an id of its own."
        raise InvalidArgumentError(message, param="devices")
    return found


def _device(device: control_pb2.Device, place: int) -> Device:
    kind = DeviceKind.CPU if device.kind == control_pb2.DEVICE_KIND_CPU else DeviceKind.GPU
    if not 0 < device.memory_bytes <= _MOST_BYTES:
        raise InvalidArgumentError("A device needs its memory_bytes.", param="devices")
    free_bytes = min(device.free_bytes or device.memory_bytes, device.memory_bytes)
    device_id = device.id or f"{kind}-{place}"
    return Device(device_id, kind, device.name or str(kind), device.memory_bytes, free_bytes, str(place))
