"""POST /v1/files: the fields beside the file. A form knows only texts, so numbers are read from them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.http.body import validate
from gateway.schemas.common import RequestModel

Purpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
"""What a client may say that its file is for."""


class ExpiresAfter(RequestModel):
    """When the file is removed by itself: an hour to thirty days after it was made."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=2_592_000, strict=False)]


class CreateFile(RequestModel):
    """What is said of an uploaded file."""

    purpose: Purpose
    expires_after: ExpiresAfter | None = None


def read_fields(fields: dict[str, str]) -> CreateFile:
    """The form's fields; `expires_after[seconds]` is `seconds` of `expires_after`. Raises InvalidArgumentError."""
    plain = {name: value for name, value in fields.items() if "[" not in name}
    prefix = "expires_after["
    expiry = {name[len(prefix) : -1]: value for name, value in fields.items() if name.startswith(prefix)}
    return validate(plain | ({"expires_after": expiry} if expiry else {}), CreateFile)
