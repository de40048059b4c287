"""POST /v1/embeddings: what may be sent (OpenAI's CreateEmbeddingRequest)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from gateway.schemas.common import RequestModel
from gateway.schemas.inputs import Inputs, at_most

MAX_INPUTS = 2048  # OpenAI's bound


class EmbeddingsRequest(RequestModel):
    """The request body."""

    model: Annotated[str, StringConstraints(min_length=1)]
    input: Annotated[Inputs, at_most(MAX_INPUTS)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=2**20)] | None = None
    user: str | None = None
