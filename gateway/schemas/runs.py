"""Runs: what may be asked of them (OpenAI's CreateRunRequest and CreateThreadAndRunRequest)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from gateway.schemas.assistants import Instructions, ResponseFormatOption
from gateway.schemas.common import COUNTABLE, Metadata, RequestModel, Temperature, TopP
from gateway.schemas.messages import CreateMessage
from gateway.schemas.threads import CreateThread
from gateway.schemas.tools import Tool
from jan.errors import InvalidArgumentError

TokenLimit = Annotated[int, Field(ge=256, le=2**31 - 1)]


class TruncationStrategy(RequestModel):
    """How much of the thread the model is shown."""

    type: Literal["auto", "last_messages"]
    last_messages: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _counts_its_messages(self) -> Self:
        if self.type == "last_messages" and self.last_messages is None:
            raise ValueError("last_messages is needed for this type")
        return self


class RunRequest(RequestModel):
    """What both ways of starting a run share."""

    assistant_id: str
    model: str | None = None
    instructions: Instructions | None = None
    tools: Annotated[list[Tool], Field(max_length=20)] | None = None
    metadata: Metadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stream: bool | None = None
    max_prompt_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    truncation_strategy: TruncationStrategy | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormatOption = None
    # Not OpenAI's for runs, but its word for what `X-Janroot-Priority` says.
    service_tier: str | None = None

    def check_supported(self) -> None:
        """Refuse what would change the answer and is not built. Raises InvalidArgumentError, naming the parameter."""
        if self.max_prompt_tokens is not None:
            raise _unsupported("max_prompt_tokens")
        if self.tool_choice not in (None, "auto", "none"):
            raise _unsupported("tool_choice")


class CreateRun(RunRequest):
    """POST /v1/threads/{thread_id}/runs."""

    additional_instructions: Instructions | None = None
    additional_messages: Annotated[list[CreateMessage] | None, COUNTABLE] = None


class CreateThreadAndRun(RunRequest):
    """POST /v1/threads/runs."""

    thread: CreateThread | None = None


class ModifyRun(RequestModel):
    """POST /v1/threads/{thread_id}/runs/{run_id}: only metadata can change."""

    metadata: Metadata | None = None


def check_tools(tools: Iterable[dict[str, Any]]) -> None:
    """Refuse tools that a run would have to call. Raises InvalidArgumentError.

    Jan's own `retrieval` entry says by `enabled: false` that it is off, and its default assistant carries it so.
    """
    if any(tool.get("enabled", True) for tool in tools):
        raise _unsupported("tools")


def _unsupported(name: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"'{name}' is not supported in runs by this server yet; leave it out.",
        param=name,
        code="unsupported_parameter",
    )
