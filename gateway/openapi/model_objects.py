"""The objects of models, their downloads and their devices, as they are answered; see objects.py."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

JsonObject = dict[str, Any]
ModelState = Literal["to_download", "downloading", "ready", "starting", "running", "stopping", "error"]


class Failure(TypedDict):
    """Why something was given up."""

    code: str
    message: str


class DeviceShare(TypedDict):
    """What a model holds of a device, or would."""

    id: str
    size_bytes: int


class Placement(TypedDict):
    """Where one copy of a model is, or would be."""

    devices: list[DeviceShare]
    tensor_parallel: int
    pipeline_layers: list[int]
    why: str


class ModelLife(TypedDict):
    """What a model does now."""

    state: ModelState
    progress: float | None
    activity: str | None
    warnings: list[str]
    error: Failure | None
    placements: list[Placement]


class ModelFields(ModelLife):
    """Jan's fields of a model. `pull` is there while it is being downloaded, `left_out` after an import."""

    name: str
    description: str
    version: str
    engine: str
    format: str
    settings: JsonObject
    parameters: JsonObject
    metadata: JsonObject
    size_bytes: int | None
    sees: bool
    ctx_len: int | None
    pull: NotRequired[str]
    left_out: NotRequired[list[str]]


class ModelStateChange(ModelLife):
    """A change of a model, in `GET /v1/models/events`."""

    id: str
    object: Literal["model.state"]


class FitNeeds(TypedDict):
    """The memory that a model needs; the overhead on each device."""

    weights: int
    kv_cache: int
    overhead: int
    total: int


class ModelFit(TypedDict):
    """Whether a model fits: at all, and beside what is loaded now."""

    id: str
    object: Literal["model.fit"]
    fits: bool
    fits_now: bool
    needs: FitNeeds
    placement: Placement | None
    why: str
    ctx_len: int | None
    n_parallel: int | None
    measured: bool
    host: str


class ProgressFile(TypedDict):
    """How far one file is."""

    name: str
    bytes: int
    total_bytes: int | None


class Progress(TypedDict):
    """How far a download or an import of a model is; null where nobody has told."""

    id: str
    state: Literal["queued", "downloading", "checking", "completed", "error", "cancelled", "importing"]
    files: list[ProgressFile]
    bytes: int
    total_bytes: int | None
    bytes_per_second: int
    eta_seconds: int | None


class Pull(Progress):
    """A download of a model."""

    object: Literal["model.pull"]
    created: int
    model: str
    source: str
    error: Failure | None


class PullList(TypedDict):
    """The downloads under way, and those that ended lately."""

    object: Literal["list"]
    data: list[Pull]


class Device(TypedDict):
    """A device of an engine host, with what models hold of it."""

    id: str
    object: Literal["device"]
    host: str
    kind: Literal["gpu", "cpu", "unknown"]
    name: str
    memory_bytes: int
    free_bytes: int
    reserved_bytes: int
    models: list[DeviceShare]


class TokenPiece(TypedDict):
    """A token with its text, or its bytes where it is a part of a character."""

    id: int
    piece: str | list[int]


class Tokens(TypedDict):
    """The tokens of a text; vLLM's answer and llama.cpp's in one."""

    count: int
    max_model_len: int | None
    tokens: list[int] | list[TokenPiece]
    token_strs: list[str | list[int]] | None


class Text(TypedDict):
    """The text of tokens, under vLLM's name and llama.cpp's."""

    prompt: str
    content: str


class DeviceList(TypedDict):
    """The devices of every engine host that answers."""

    object: Literal["list"]
    data: list[Device]
