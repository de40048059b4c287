"""Runs: what may be asked of them (OpenAI's CreateRunRequest and CreateThreadAndRunRequest)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from gateway.schemas.assistants import Instructions, ReasoningEffort, ResponseFormatOption
from gateway.schemas.chat_tools import NamedFunction
from gateway.schemas.common import COUNTABLE, NO_NUL, Metadata, RequestModel, Temperature, TopP, missing
from gateway.schemas.elsewhere import RefusesElsewheres
from gateway.schemas.messages import CreateMessage
from gateway.schemas.threads import CreateThread
from gateway.schemas.tool_resources import NewToolResources
from gateway.schemas.tools import ONE_OF_A_NAME, Tool

# OpenAI's bound on what a run is given back, and more calls than one answer makes.
MAX_OUTPUT_LENGTH = 512 * 1024
MAX_OUTPUTS = 128
TokenLimit = Annotated[int, Field(ge=256, le=2**31 - 1)]


class TruncationStrategy(RequestModel):
    """How much of the thread the model is shown."""

    type: Literal["auto", "last_messages"]
    last_messages: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _counts_its_messages(self) -> Self:
        if self.type == "last_messages" and self.last_messages is None:
            raise missing("last_messages")
        return self


class NamedRunTool(RequestModel):
    """The one tool that the model must call."""

    type: Literal["function", "code_interpreter", "file_search"]
    function: NamedFunction | None = None

    @model_validator(mode="after")
    def _names_its_function(self) -> Self:
        if self.type == "function" and self.function is None:
            raise missing("function")
        return self


RunToolChoice = Literal["none", "auto", "required"] | NamedRunTool


class RunRequest(RefusesElsewheres):
    """What both ways of starting a run share."""

    assistant_id: str
    model: str | None = None
    instructions: Instructions | None = None
    tools: Annotated[list[Tool], Field(max_length=20), ONE_OF_A_NAME] | None = None
    metadata: Metadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stream: bool | None = None
    max_prompt_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    truncation_strategy: TruncationStrategy | None = None
    tool_choice: RunToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormatOption = None
    reasoning_effort: ReasoningEffort | None = None
    # Not OpenAI's for runs, but its word for what `X-Janroot-Priority` says.
    service_tier: str | None = None


class CreateRun(RunRequest):
    """POST /v1/threads/{thread_id}/runs."""

    additional_instructions: Instructions | None = None
    additional_messages: Annotated[list[CreateMessage] | None, COUNTABLE] = None


class CreateThreadAndRun(RunRequest):
    """POST /v1/threads/runs."""

    thread: CreateThread | None = None
    tool_resources: NewToolResources | None = None

    @field_validator("tool_resources")
    @classmethod
    def _said_once(cls, resources: NewToolResources | None, info: ValidationInfo) -> NewToolResources | None:
        thread = info.data.get("thread")
        if resources is not None and thread is not None and thread.tool_resources is not None:
            raise PydanticCustomError(
                "invalid_value", "Say either 'tool_resources' or 'thread.tool_resources': both are the new thread's"
            )
        return resources

    @property
    def new_thread(self) -> CreateThread:
        """The thread to make, with the resources that are named beside it."""
        thread = self.thread or CreateThread()
        return thread.model_copy(update={"tool_resources": self.tool_resources or thread.tool_resources})

    @property
    def resources_named(self) -> str:
        """What the request calls these resources."""
        return "tool_resources" if self.tool_resources is not None else "thread.tool_resources"


class ModifyRun(RequestModel):
    """POST /v1/threads/{thread_id}/runs/{run_id}: only metadata can change."""

    metadata: Metadata | None = None


class ToolOutput(RequestModel):
    """What a function that the client ran gave back."""

    tool_call_id: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    output: Annotated[str, StringConstraints(max_length=MAX_OUTPUT_LENGTH), NO_NUL] | None = None


class SubmitToolOutputs(RequestModel):
    """POST /v1/threads/{thread_id}/runs/{run_id}/submit_tool_outputs: of all calls at once."""

    tool_outputs: Annotated[list[ToolOutput], Field(max_length=MAX_OUTPUTS)]
    stream: bool | None = None
