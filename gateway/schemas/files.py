"""POST /v1/files: the fields beside the file. A form knows only texts, so numbers are read from them."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from gateway.http.body import validate
from gateway.schemas.common import ClosedModel

_OF_EXPIRY = re.compile(r"expires_after\[(.*)\]")

Purpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
"""What a client may say that its file is for."""


class ExpiresAfter(ClosedModel):
    """When the file is removed by itself: an hour to thirty days after it was made."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=2_592_000, strict=False)]


class CreateFile(ClosedModel):
    """What is said of an uploaded file."""

    purpose: Purpose
    expires_after: ExpiresAfter | None = None


def read_fields(fields: dict[str, str]) -> CreateFile:
    """The form's fields; `expires_after[seconds]` is `seconds` of `expires_after`. Raises InvalidArgumentError."""
    nested = {name: match[1] for name in fields if (match := _OF_EXPIRY.fullmatch(name))}
    plain = {name: value for name, value in fields.items() if name not in nested}
    expiry = {inner: fields[name] for name, inner in nested.items()}
    return validate(plain | ({"expires_after": expiry} if expiry else {}), CreateFile)
