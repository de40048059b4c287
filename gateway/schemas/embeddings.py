"""POST /v1/embeddings: what may be sent (OpenAI's CreateEmbeddingRequest)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from gateway.schemas.common import RequestModel
from gateway.schemas.inputs import as_inputs

MAX_INPUTS = 2048  # OpenAI's bound


def _as_inputs(value: Any) -> Any:
    return as_inputs(value, MAX_INPUTS)


Inputs = Annotated[list[Any], BeforeValidator(_as_inputs)]
"""Always a list, of texts or of lists of tokens."""


class EmbeddingsRequest(RequestModel):
    """The request body."""

    model: Annotated[str, StringConstraints(min_length=1)]
    input: Inputs
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=2**20)] | None = None
    user: str | None = None
