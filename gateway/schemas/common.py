"""What several request schemas share: OpenAI's rules for metadata, limits and open-ended values."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

MetadataKey = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]
"""At most 16 pairs of a key of up to 64 and a value of up to 512 characters."""

Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(ge=0, le=1)]
JsonObject = dict[str, Any]


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("invalid_value", "A text cannot hold the character U+0000")
    return text


NO_NUL = AfterValidator(_without_nul)
"""For texts that models read: engines written in C would end them at a NUL, silently. Stands after length limits."""
Text = Annotated[str, NO_NUL]


class RequestModel(BaseModel):
    """A request body: null means absent, fields that nobody knows are accepted and ignored, types are not guessed."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class SentObject(RequestModel):
    """A part of a request that is kept as it was sent, unknown fields too, once its known ones have the right shape."""

    model_config = ConfigDict(extra="allow")

    def as_sent(self) -> JsonObject:
        """The object without what was not sent."""
        return self.model_dump(exclude_unset=True)
