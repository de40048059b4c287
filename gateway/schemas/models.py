"""Bodies of Jan's model routes: whether one fits, starting and stopping."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.schemas.common import RequestModel

_MOST_BYTES = 2**50
Bytes = Annotated[int, Field(gt=0, le=_MOST_BYTES)]


class PlannedDevice(RequestModel):
    """A device to plan with, which may not exist."""

    kind: Literal["gpu", "cpu"] = "gpu"
    id: Annotated[str, Field(max_length=64)] = ""
    name: Annotated[str, Field(max_length=128)] = ""
    memory_bytes: Bytes
    free_bytes: Bytes | None = None


class FitModel(RequestModel):
    """POST /v1/models/{model_id}/fit. devices: ids of devices to use, or devices to plan with; absent for all."""

    ctx_len: Annotated[int, Field(ge=16, le=10_000_000)] | None = None
    n_parallel: Annotated[int, Field(ge=1, le=4_096)] | None = None
    devices: (
        Annotated[list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=64)]
        | Annotated[list[PlannedDevice], Field(min_length=1, max_length=64)]
        | None
    ) = None


class StartModel(RequestModel):
    """POST or PUT /v1/models/{model_id}/start. wait: answer only once it runs; otherwise at once."""

    wait: bool = True


class StartNamedModel(StartModel):
    """POST /v1/models/start, as cortex had it."""

    model: str


class StopNamedModel(RequestModel):
    """POST /v1/models/stop, as cortex had it."""

    model: str
