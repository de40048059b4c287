"""Body of POST /v1/models/import, as cortex had it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AliasChoices, Field

from gateway.schemas.common import NO_NUL, RequestModel

_Path = Annotated[str, Field(min_length=1, max_length=4_096)]


class ImportModel(RequestModel):
    """Weights that lie on the server's machine. model: the id that the model is to have, by default from the path.

    option: links to the files, or copies of them. base_model: what a LoRA adapter belongs to. stream: answer with
    progress as it happens.
    """

    model_path: Annotated[_Path, Field(validation_alias=AliasChoices("modelPath", "model_path", "path"))]
    model: Annotated[str | None, Field(max_length=200, validation_alias=AliasChoices("model", "id"))] = None
    name: Annotated[str, NO_NUL, Field(max_length=256)] | None = None
    option: Literal["symlink", "copy"] = "symlink"
    base_model: Annotated[str, Field(max_length=200)] | None = None
    stream: bool = False
