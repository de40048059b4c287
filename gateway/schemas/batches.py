"""POST /v1/batches: what may be sent (OpenAI's CreateBatchRequest)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints

from gateway.schemas.common import ClosedModel, Metadata
from gateway.schemas.files import ExpiresAfter


class CreateBatch(ClosedModel):
    """The request body."""

    input_file_id: Annotated[str, StringConstraints(min_length=1)]
    endpoint: Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = None
