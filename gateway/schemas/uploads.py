"""/v1/uploads: what may be sent (OpenAI's CreateUploadRequest and CompleteUploadRequest)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from gateway.schemas.common import ClosedModel
from gateway.schemas.files import ExpiresAfter, Purpose

MAX_UPLOAD_BYTES = 8 * 1024 * 1024 * 1024  # OpenAI's
MAX_PARTS = 10_000


class CreateUpload(ClosedModel):
    """What the file will be."""

    filename: Annotated[str, StringConstraints(min_length=1)]
    purpose: Purpose
    bytes: Annotated[int, Field(ge=1, le=MAX_UPLOAD_BYTES)]
    mime_type: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    expires_after: ExpiresAfter | None = None


class CompleteUpload(ClosedModel):
    """Which parts it is made of, and what is to come of it."""

    part_ids: Annotated[list[str], Field(min_length=1, max_length=MAX_PARTS)]
    md5: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{32}$")] | None = None
