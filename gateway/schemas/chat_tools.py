"""Tools of a chat: functions that the client runs, and whether the model must call one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from gateway.schemas.common import JsonObject, RequestModel, Text
from gateway.schemas.response_format import check_schema
from jan.errors import InvalidArgumentError

FunctionName = Annotated[str, StringConstraints(pattern="^[a-zA-Z0-9_-]{1,64}$")]


class ChatFunction(RequestModel):
    """A function; `parameters` is the JSON schema of its arguments, none when absent."""

    name: FunctionName
    description: Text | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        if self.parameters is not None:
            check_schema(self.parameters)
        return self


class ChatTool(RequestModel):
    """A function as a tool, the only kind there is in chats."""

    type: Literal["function"]
    function: ChatFunction


class NamedFunction(RequestModel):
    """A function by its name."""

    name: FunctionName


class NamedTool(RequestModel):
    """The one tool that the model must call."""

    type: Literal["function"]
    function: NamedFunction


ChatTools = Annotated[list[ChatTool], Field(max_length=128)]
ToolChoice = Literal["none", "auto", "required"] | NamedTool


def check_choice(tools: Sequence[ChatTool], choice: ToolChoice | None) -> None:
    """Raises InvalidArgumentError: the choice is not among the tools."""
    if isinstance(choice, NamedTool):
        if choice.function.name not in {tool.function.name for tool in tools}:
            message = f"Tool choice '{choice.function.name}' not found in 'tools' parameter."
            raise InvalidArgumentError(message, param="tool_choice")
    elif choice == "required" and not tools:
        raise InvalidArgumentError("'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice")


def tool_parameters(
    tools: Sequence[ChatTool] | None, choice: ToolChoice | None, parallel: bool | None
) -> dict[str, Any]:
    """What an engine is told of tools: nothing when there are none."""
    if not tools:
        return {}
    return {
        "tools": [tool.model_dump(exclude_none=True) for tool in tools],
        "tool_choice": choice.model_dump() if isinstance(choice, NamedTool) else choice,
        "parallel_tool_calls": parallel,
    }
