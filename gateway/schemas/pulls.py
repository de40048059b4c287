"""Bodies of the routes that download models."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.fetching.policy import MAX_URL_LENGTH
from gateway.pulls.plan import MAX_SOURCES
from gateway.schemas.common import RequestModel
from gateway.schemas.models import FitModel

_Source = Annotated[str, Field(min_length=1, max_length=MAX_URL_LENGTH)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]


class SourceFile(RequestModel):
    """One file, as model.json has it; sha256 is checked when it is here."""

    url: _Source
    filename: Annotated[str, Field(max_length=200)] | None = None
    sha256: _Sha256 | None = None


class PullModel(RequestModel):
    """POST /v1/models/pull: a URL or a repository, as `model` (cortex) or `source`; or a list of files.

    stream: answer with progress as it happens; otherwise at once. base_model: what a LoRA adapter belongs to.
    """

    model: _Source | None = None
    source: _Source | None = None
    source_url: _Source | None = None
    sources: Annotated[list[SourceFile], Field(min_length=1, max_length=MAX_SOURCES)] | None = None
    id: Annotated[str, Field(max_length=200)] | None = None
    name: Annotated[str, Field(max_length=200)] | None = None
    revision: Annotated[str, Field(max_length=200)] | None = None
    base_model: Annotated[str, Field(max_length=200)] | None = None
    stream: bool = False


class PullNamedModel(RequestModel):
    """POST /v1/models/{model_id}/pull: the files that its model.json names."""

    stream: bool = False


class FitSource(FitModel):
    """POST /v1/models/fit: as for a model that is here, for one that is not."""

    source: _Source
    revision: Annotated[str, Field(max_length=200)] | None = None


class CancelPull(RequestModel):
    """DELETE /v1/models/pull, as cortex had it."""

    taskId: Annotated[str, Field(max_length=128)]  # noqa: N815  cortex' spelling
