"""How an answer is chosen: the parameters that a chat request, and a thread for all its answers, may set."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints

from gateway.schemas.common import RequestModel, Temperature, TopP


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


TokenLimit = Annotated[int, Field(ge=1, le=2**31 - 1)]
Stop = Annotated[str, StringConstraints(min_length=1)]


class Sampling(RequestModel):
    """OpenAI's names first, then engines' own, as Jan's files and vLLM's clients spell them."""

    max_completion_tokens: TokenLimit | None = None
    max_tokens: TokenLimit | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stop: Annotated[list[Stop], Field(max_length=4), BeforeValidator(_as_list)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    top_k: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=2)] | None = None
