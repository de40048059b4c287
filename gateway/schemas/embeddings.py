"""POST /v1/embeddings: what may be sent (OpenAI's CreateEmbeddingRequest)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from gateway.schemas.common import RequestModel

MAX_INPUTS = 2048  # OpenAI's bound
_MAX_TOKEN = 2**31 - 1


def as_inputs(value: Any) -> list[str] | list[list[int]]:
    """A text, texts, tokens or lists of tokens as a list of texts or of lists of tokens, none of them empty."""
    inputs = [value] if isinstance(value, str) or (isinstance(value, list) and value and _is_token(value[0])) else value
    if not isinstance(inputs, list):
        raise PydanticCustomError("invalid_type", "It must be a text, a list of texts, or tokens")
    if not inputs:
        raise PydanticCustomError("too_short", "It cannot be empty")
    if len(inputs) > MAX_INPUTS:
        raise PydanticCustomError("too_long", "There may be at most {most} of them", {"most": MAX_INPUTS})
    if not (all(isinstance(one, str) for one in inputs) or all(map(_are_tokens, inputs))):
        raise PydanticCustomError("invalid_type", "It must be a text, a list of texts, or tokens")
    if not all(inputs):
        raise PydanticCustomError("string_too_short", "None of them may be empty")
    if any("\0" in one for one in inputs):
        raise PydanticCustomError("invalid_value", "A text cannot hold the character U+0000")
    return inputs


def _are_tokens(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_token, value))


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_TOKEN


Inputs = Annotated[list[Any], BeforeValidator(as_inputs)]
"""Always a list, of texts or of lists of tokens."""


class EmbeddingsRequest(RequestModel):
    """The request body."""

    model: Annotated[str, StringConstraints(min_length=1)]
    input: Inputs
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=2**20)] | None = None
    user: str | None = None
