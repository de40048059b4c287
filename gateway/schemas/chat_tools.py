"""Tools of a chat: functions that the client runs, and whether the model must call one.

`functions` and `function_call`, which came before, are read as tools; the answer is told in their form
(inference_service/answers/shapes.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from gateway.schemas.common import JsonObject, RequestModel, Text, once
from gateway.schemas.response_format import check_parameters
from jan.errors import InvalidArgumentError

FunctionName = Annotated[str, StringConstraints(pattern="^[a-zA-Z0-9_-]{1,64}$")]


class ChatFunction(RequestModel):
    """A function; `parameters` is the JSON schema of its arguments, none when absent."""

    name: FunctionName
    description: Text | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None

    @model_validator(mode="after")
    def _is_bindable(self) -> Self:
        check_parameters(self.name, self.parameters, strict=self.strict, field="parameters")
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


class AllowedTools(RequestModel):
    """Those of the tools that may be called now, and whether one must be."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=128)]


class AllowedToolsChoice(RequestModel):
    """A choice of some of the tools; the others stay known."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


def _no_custom_tool(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") == "custom":
        raise PydanticCustomError("unsupported_parameter", "Custom tools are not supported by this server")
    return value


NO_CUSTOM = BeforeValidator(_no_custom_tool)
"""For tools and choices of them: OpenAI's custom tools take free text, which no engine here can bind."""

ONE_OF_A_NAME = once(lambda tool: tool.name, ".name")
"""For lists of functions."""

ChatTools = Annotated[
    list[Annotated[ChatTool, NO_CUSTOM]],
    Field(max_length=128),
    once(lambda tool: tool.function.name, ".function.name"),
]
ToolChoice = Annotated[Literal["none", "auto", "required"] | NamedTool | AllowedToolsChoice, NO_CUSTOM]
FunctionChoice = Literal["none", "auto"] | NamedFunction


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools of a request and the choice among them, however they were spelled.

    are_functions: they came as `functions`, so the answer calls one in that form.
    """

    tools: Sequence[ChatTool] = ()
    choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel: bool | None = None
    are_functions: bool = False

    @classmethod
    def of(cls, tools: Sequence[ChatTool] | None, choice: Any, parallel: bool | None) -> Self:
        """Tools as they are sent today. Raises InvalidArgumentError: the choice is not among them."""
        sent = tools or ()
        if isinstance(choice, AllowedToolsChoice):
            allowed = choice.allowed_tools
            for one in allowed.tools:
                _check_known(sent, one.function.name, "tool_choice", "tools")
            names = {one.function.name for one in allowed.tools}
            return cls([tool for tool in sent if tool.function.name in names], allowed.mode, parallel)
        if isinstance(choice, NamedTool):
            _check_known(sent, choice.function.name, "tool_choice", "tools")
        elif choice == "required" and not sent:
            raise InvalidArgumentError("'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice")
        return cls(sent, choice, parallel)

    @classmethod
    def of_functions(cls, functions: Sequence[ChatFunction] | None, choice: Any) -> Self:
        """Tools as they were sent in 2023, of which one is called at a time. Raises InvalidArgumentError."""
        tools = [ChatTool(type="function", function=function) for function in functions or ()]
        if isinstance(choice, NamedFunction):
            _check_known(tools, choice.name, "function_call", "functions")
            choice = NamedTool(type="function", function=choice)
        return cls(tools, choice, parallel=False, are_functions=True)

    def parameters(self) -> JsonObject:
        """What an engine is told of tools: nothing when there are none."""
        if not self.tools:
            return {}
        return {
            "tools": [tool.model_dump(exclude_none=True) for tool in self.tools],
            "tool_choice": self.choice.model_dump() if isinstance(self.choice, NamedTool) else self.choice,
            "parallel_tool_calls": self.parallel,
            "answers_functions": self.are_functions or None,
        }


def _check_known(tools: Sequence[ChatTool], name: str, param: str, field: str) -> None:
    if name not in {tool.function.name for tool in tools}:
        raise InvalidArgumentError(f"Tool choice '{name}' not found in '{field}' parameter.", param=param)
