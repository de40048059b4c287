"""The gRPC control service: what the gateway may ask this host."""

from __future__ import annotations

from typing import Any, Final

from grpc import aio

from inference_service.models import Model, Models, ModelState
from jan.inference.v1 import control_pb2, control_pb2_grpc

_STATES: Final = {
    ModelState.READY: control_pb2.MODEL_STATE_READY,
    ModelState.STARTING: control_pb2.MODEL_STATE_STARTING,
    ModelState.RUNNING: control_pb2.MODEL_STATE_RUNNING,
    ModelState.STOPPING: control_pb2.MODEL_STATE_STOPPING,
    ModelState.ERROR: control_pb2.MODEL_STATE_ERROR,
}


class ControlServicer(control_pb2_grpc.ControlServiceServicer):
    """Answers for one host's models."""

    def __init__(self, models: Models) -> None:
        """`models` is only read."""
        self._models = models

    async def ListModelStatuses(  # noqa: N802  # the name is the proto's
        self, request: control_pb2.ListModelStatusesRequest, context: aio.ServicerContext[Any, Any]
    ) -> control_pb2.ListModelStatusesResponse:
        """Every model asked for since the start, by id."""
        return control_pb2.ListModelStatusesResponse(models=map(model_status, self._models.all()))


def model_status(model: Model) -> control_pb2.ModelStatus:
    """A model's state on the wire."""
    status = control_pb2.ModelStatus(model_id=model.id, state=_STATES[model.state], warnings=model.warnings)
    if model.error is not None:
        status.error.CopyFrom(model.error.to_detail())
    return status
