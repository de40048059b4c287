"""Tools of Anthropic's Messages API: functions that the client runs, and whether the model must call one."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from gateway.schemas.anthropic_blocks import Block, Sent, ToolName, only, tag_of
from gateway.schemas.chat_tools import ONE_OF_A_NAME, ChatFunction, ChatTool, NamedFunction, NamedTool
from gateway.schemas.common import JsonObject, Text
from gateway.schemas.response_format import check_parameters


def _only_custom(tool: Any) -> Any:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if isinstance(kind, str) and kind != "custom":
        message = (
            "This server has no tools of type '{kind}': those that you describe and run yourself are the only ones"
        )
        raise PydanticCustomError("unsupported_parameter", message, {"kind": kind[:64]})
    return tool


class ClientTool(Block):
    """A function; `input_schema` is the JSON schema of its arguments."""

    type: Literal["custom"] | None = None
    name: ToolName
    description: Text | None = None
    input_schema: JsonObject
    strict: bool | None = None
    eager_input_streaming: bool | None = None
    allowed_callers: list[Literal["direct"]] | None = None
    defer_loading: Literal[False] | None = None

    @model_validator(mode="after")
    def _is_bindable(self) -> Self:
        check_parameters(self.name, self.input_schema, strict=False, field="input_schema")
        return self

    def for_chat(self) -> ChatTool:
        """The tool as chats spell it. Names may be longer here, and a strict schema leaves out what OpenAI demands."""
        function = ChatFunction.model_construct(
            name=self.name, description=self.description, parameters=self.input_schema, strict=self.strict
        )
        return ChatTool(type="function", function=function)


Tools = Annotated[list[Annotated[ClientTool, BeforeValidator(_only_custom)]], Field(max_length=128), ONE_OF_A_NAME]


class FreeChoice(Sent):
    """The model may choose (auto), or must call some tool (any)."""

    type: Literal["auto", "any"]
    disable_parallel_tool_use: bool | None = None


class NamedChoice(Sent):
    """The tool that must be called."""

    type: Literal["tool"]
    name: ToolName
    disable_parallel_tool_use: bool | None = None


class NoChoice(Sent):
    """No tool may be called."""

    type: Literal["none"]


ToolChoice = Annotated[
    Annotated[FreeChoice, Tag("AUTO")]
    | Annotated[FreeChoice, Tag("ANY")]
    | Annotated[NamedChoice, Tag("TOOL")]
    | Annotated[NoChoice, Tag("NONE")],
    Discriminator(tag_of),
    only("auto", "any", "tool", "none"),
]


def choice_for_chat(choice: FreeChoice | NamedChoice | NoChoice) -> Literal["none", "auto", "required"] | NamedTool:
    """The choice as chats spell it."""
    match choice:
        case NamedChoice():
            return NamedTool(type="function", function=NamedFunction.model_construct(name=choice.name))
        case FreeChoice():
            return "required" if choice.type == "any" else "auto"
    return "none"
