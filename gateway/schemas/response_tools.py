"""Tools of a response and the choice among them: functions, which the client runs, and the search of files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag
from pydantic_core import PydanticCustomError

from gateway.schemas.chat_tools import (
    AllowedTools,
    AllowedToolsChoice,
    ChatFunction,
    ChatTool,
    NamedTool,
    Tools,
)
from gateway.schemas.common import ClosedModel, JsonObject, RequestModel, once
from gateway.schemas.tools import FileReference
from gateway.schemas.vector_stores import MAX_RESULTS, Filter, RankingOptions
from gateway.vector_stores.file_search import DEFAULT_RESULTS, FILE_SEARCH
from jan.errors import InvalidArgumentError

# Each is searched by itself, one after another.
_MAX_STORES = 10


def _only_known(tool: Any) -> Any:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if isinstance(kind, str) and kind not in ("function", FILE_SEARCH):
        message = "This server has no tools of type '{kind}': there are functions, which you run, and file_search"
        raise PydanticCustomError("unsupported_parameter", message, {"kind": kind[:64]})
    return tool


_ONLY_KNOWN = BeforeValidator(_only_known)


class FunctionTool(ChatFunction):
    """A function, whose fields stand beside the type here."""

    type: Literal["function"]
    output_schema: JsonObject | None = None
    defer_loading: bool | None = None
    allowed_callers: list[str] | None = None

    @property
    def refused(self) -> str | None:
        """The field that asks for what is not here: a program that calls functions, a search among them."""
        asked = {
            "output_schema": self.output_schema is not None,
            "defer_loading": bool(self.defer_loading),
            "allowed_callers": self.allowed_callers not in (None, [], ["direct"]),
        }
        return next((name for name, is_asked in asked.items() if is_asked), None)

    def for_chat(self) -> ChatTool:
        """The tool as chats spell it."""
        fields = {name: getattr(self, name) for name in ChatFunction.model_fields}
        return ChatTool(type="function", function=ChatFunction.model_construct(**fields))

    def told_back(self) -> JsonObject:
        """The tool as an answer repeats it."""
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
            "strict": bool(self.strict),
        }


class FileSearchTool(ClosedModel):
    """Vector stores that are searched before the model is asked."""

    type: Literal["file_search"]
    vector_store_ids: Annotated[list[FileReference], Field(min_length=1, max_length=_MAX_STORES)]
    max_num_results: Annotated[int, Field(ge=1, le=MAX_RESULTS)] | None = None
    ranking_options: RankingOptions | None = None
    filters: Filter | None = None

    def for_run(self) -> JsonObject:
        """The tool as runs keep it; of the ranking options what counts."""
        ranking = (self.ranking_options or RankingOptions()).model_dump(exclude_none=True, exclude={"ranker"})
        options = {
            "vector_store_ids": list(dict.fromkeys(self.vector_store_ids)),
            "max_num_results": self.max_num_results,
            "ranking_options": {"score_threshold": 0.0} | ranking,
            "filters": self.filters.model_dump() if self.filters else None,
        }
        return {"type": FILE_SEARCH, FILE_SEARCH: {name: value for name, value in options.items() if value is not None}}

    def told_back(self) -> JsonObject:
        """The tool as an answer repeats it, with what counts where nothing was said."""
        ranking = (self.ranking_options or RankingOptions()).model_dump(exclude_none=True)
        return {
            "type": FILE_SEARCH,
            "vector_store_ids": self.vector_store_ids,
            "max_num_results": self.max_num_results or DEFAULT_RESULTS,
            "ranking_options": {"ranker": "auto", "score_threshold": 0.0} | ranking,
            "filters": self.filters.model_dump() if self.filters else None,
        }


ResponseTool: TypeAlias = FunctionTool | FileSearchTool


class NamedFunctionTool(RequestModel):
    """One function by its name."""

    type: Literal["function"]
    name: Annotated[str, StringConstraints(pattern="^[a-zA-Z0-9_-]{1,64}$")]

    def for_chat(self) -> NamedTool:
        """The choice as chats spell it."""
        return NamedTool.model_validate({"type": "function", "function": {"name": self.name}})


class FileSearchChoice(RequestModel):
    """The search of files."""

    type: Literal["file_search"]


def _kind_of(tool: Any) -> str:
    """In capitals, so that errors leave it out when they name a field."""
    kind = tool.get("type") if isinstance(tool, dict) else getattr(tool, "type", None)
    return "SEARCH" if kind == FILE_SEARCH else "FUNCTION"


def _function_name(tool: ResponseTool) -> str | None:
    return tool.name if isinstance(tool, FunctionTool) else None


def _search(tool: ResponseTool) -> str | None:
    return tool.type if isinstance(tool, FileSearchTool) else None


ResponseTools = Annotated[
    list[
        Annotated[
            Annotated[FunctionTool, Tag("FUNCTION")] | Annotated[FileSearchTool, Tag("SEARCH")],
            Discriminator(_kind_of),
            _ONLY_KNOWN,
        ]
    ],
    Field(max_length=128),
    once(_function_name, ".name"),
    once(_search, ""),
]
_AllowedTool = Annotated[
    Annotated[NamedFunctionTool, Tag("FUNCTION")] | Annotated[FileSearchChoice, Tag("SEARCH")],
    Discriminator(_kind_of),
    _ONLY_KNOWN,
]


class AllowedResponseTools(RequestModel):
    """Those of the tools that may be called now."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[_AllowedTool], Field(min_length=1, max_length=128)]

    @property
    def functions(self) -> list[NamedTool]:
        """The functions among them, as chats spell them."""
        return [tool.for_chat() for tool in self.tools if isinstance(tool, NamedFunctionTool)]

    @property
    def has_search(self) -> bool:
        """Whether files may be searched."""
        return any(isinstance(tool, FileSearchChoice) for tool in self.tools)


def _only_known_choices(choice: Any) -> Any:
    is_allowed = isinstance(choice, dict) and choice.get("type") == "allowed_tools"
    return choice if is_allowed else _only_known(choice)


ResponseToolChoice = Annotated[
    Literal["none", "auto", "required"] | NamedFunctionTool | FileSearchChoice | AllowedResponseTools,
    BeforeValidator(_only_known_choices),
]


def called_functions(tools: Sequence[ResponseTool], choice: ResponseToolChoice | None, parallel: bool | None) -> Tools:
    """The functions and the choice among them, as chats spell them.

    A choice that wants some call is kept by the search, which every response with that tool makes, unless there are
    functions. Raises InvalidArgumentError: the choice is not among the tools.
    """
    functions = [tool.for_chat() for tool in tools if isinstance(tool, FunctionTool)]
    has_search = len(functions) < len(tools)
    match choice:
        case FileSearchChoice() | AllowedResponseTools(has_search=True) if not has_search:
            raise InvalidArgumentError(
                f"Tool choice '{FILE_SEARCH}' not found in 'tools' parameter.", param="tool_choice"
            )
        case FileSearchChoice():
            return Tools.of(functions, None, parallel)
        case AllowedResponseTools(functions=[]):
            return Tools.of([], None, parallel)
        case AllowedResponseTools():
            allowed = AllowedTools(mode=choice.mode, tools=choice.functions)
            return Tools.of(functions, AllowedToolsChoice(type="allowed_tools", allowed_tools=allowed), parallel)
        case NamedFunctionTool():
            return Tools.of(functions, choice.for_chat(), parallel)
        case "required" if has_search and not functions:
            return Tools.of([], None, parallel)
    return Tools.of(functions, choice, parallel)


def search_of(tools: Sequence[ResponseTool], choice: ResponseToolChoice | None) -> FileSearchTool | None:
    """The search that is made; None where there is none, or the choice is of something else."""
    if choice == "none" or isinstance(choice, NamedFunctionTool):
        return None
    if isinstance(choice, AllowedResponseTools) and not choice.has_search:
        return None
    return next((tool for tool in tools if isinstance(tool, FileSearchTool)), None)


def must_search(tools: Sequence[ResponseTool], choice: ResponseToolChoice | None) -> bool:
    """Whether the choice wants the search itself, or a call of which there is no other."""
    match choice:
        case FileSearchChoice():
            return True
        case AllowedResponseTools(mode="required", functions=[]):
            return True
        case "required":
            return not any(isinstance(tool, FunctionTool) for tool in tools)
    return False
