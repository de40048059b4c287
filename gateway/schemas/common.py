"""What several request schemas share: OpenAI's rules for metadata, limits and open-ended values."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MetadataKey = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]
"""At most 16 pairs of a key of up to 64 and a value of up to 512 characters."""

Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(ge=0, le=1)]
JsonObject = dict[str, Any]


class RequestModel(BaseModel):
    """A request body: null means absent, fields that nobody knows are accepted and ignored, types are not guessed."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
