"""Bodies of Jan's model routes: whether one fits, starting and stopping, changing one."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from gateway.models.settings import SETTINGS
from gateway.schemas.common import NO_NUL, JsonObject, RequestModel
from gateway.schemas.thread_models import ChangeThreadModel

_MOST_BYTES = 2**50
_TEMPLATES = frozenset({"prompt_template", "pre_prompt", "system_prompt", "user_prompt", "ai_prompt"})
_PATHS = frozenset({"llama_model_path", "model_path", "mmproj"})
_UNSAFE = re.compile(r"^-|[\x00-\x1f\x7f]")  # docs/security.md S5
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


class ModifyModel(ChangeThreadModel):
    """PATCH /v1/models/{model_id}. What is not sent stays, null clears a key of a map.

    Parameters and the settings that are known may also stand beside the maps, as cortex had them. What is none of
    these is refused: a change that was ignored would look as if it had been made.
    """

    model_config = ConfigDict(extra="forbid")

    overrides: ClassVar[bool] = False

    name: Annotated[str, NO_NUL, Field(min_length=1, max_length=256)] | None = None
    description: Annotated[str, NO_NUL, Field(max_length=4_096)] | None = None
    version: Annotated[str, NO_NUL, Field(max_length=64)] | None = None
    metadata: JsonObject | None = None

    @model_validator(mode="before")
    @classmethod
    def _settings_by_name(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        own = {name: value[name] for name in SETTINGS if name in value}
        settings = value.get("settings") or {}
        if not own or not isinstance(settings, dict):
            return value
        return {name: value[name] for name in value if name not in own} | {"settings": settings | own}

    @field_validator("settings")
    @classmethod
    def _stay_inside(cls, settings: JsonObject | None) -> JsonObject | None:
        """Names of files stay in the model's folder, and no text could be taken for an option or for several."""
        for name, value in (settings or {}).items():
            if not isinstance(value, str) or name in _TEMPLATES:
                continue
            if _UNSAFE.search(value) or (name in _PATHS and _leads_out(value)):
                raise PydanticCustomError("invalid_value", "{name} cannot be this text", {"name": name})
        return settings


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name)
    return "\\" in name or path.is_absolute() or ".." in path.parts
