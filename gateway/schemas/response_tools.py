"""Tools of a response and the choice among them: functions, which the client runs, and the search of files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from gateway.schemas.chat_tools import AllowedTools, AllowedToolsChoice, Tools
from gateway.schemas.common import ClosedModel, JsonObject, RequestModel, once
from gateway.schemas.function_tools import (
    NAMESPACE,
    FunctionTool,
    NamedFunctionTool,
    NamespaceTool,
    described,
    placed,
)
from gateway.schemas.tools import FileReference
from gateway.schemas.vector_stores import MAX_RESULTS, Filter, RankingOptions
from gateway.vector_stores.file_search import DEFAULT_RESULTS, FILE_SEARCH
from jan.errors import InvalidArgumentError

# Each is searched by itself, one after another.
_MAX_STORES = 10


def _only_known(tool: Any) -> Any:
    return tool if _kind(tool) == NAMESPACE else _only_chosen(tool)


def _only_chosen(tool: Any) -> Any:
    kind = _kind(tool)
    if isinstance(kind, str) and kind not in ("function", FILE_SEARCH):
        message = "This server has no tools of type '{kind}': there are functions, which you run, and file_search"
        raise PydanticCustomError("unsupported_parameter", message, {"kind": kind[:64]})
    return tool


def _kind(tool: Any) -> Any:
    return tool.get("type") if isinstance(tool, dict) else getattr(tool, "type", None)


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


ResponseTool: TypeAlias = FunctionTool | NamespaceTool | FileSearchTool


class FileSearchChoice(RequestModel):
    """The search of files."""

    type: Literal["file_search"]


def _kind_of(tool: Any) -> str:
    """In capitals, so that errors leave it out when they name a field."""
    return {FILE_SEARCH: "SEARCH", NAMESPACE: "NAMESPACE"}.get(str(_kind(tool)), "FUNCTION")


def _function_name(tool: ResponseTool) -> str | None:
    return tool.name if isinstance(tool, FunctionTool) else None


def _search(tool: ResponseTool) -> str | None:
    return tool.type if isinstance(tool, FileSearchTool) else None


ResponseTools = Annotated[
    list[
        Annotated[
            Annotated[FunctionTool, Tag("FUNCTION")]
            | Annotated[NamespaceTool, Tag("NAMESPACE")]
            | Annotated[FileSearchTool, Tag("SEARCH")],
            Discriminator(_kind_of),
            BeforeValidator(_only_known),
        ]
    ],
    Field(max_length=128),
    once(_function_name, ".name"),
    once(_search, ""),
]
_AllowedTool = Annotated[
    Annotated[NamedFunctionTool, Tag("FUNCTION")] | Annotated[FileSearchChoice, Tag("SEARCH")],
    Discriminator(_kind_of),
    BeforeValidator(_only_chosen),
]


class AllowedResponseTools(RequestModel):
    """Those of the tools that may be called now."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[_AllowedTool], Field(min_length=1, max_length=128)]

    @property
    def functions(self) -> list[NamedFunctionTool]:
        """The functions among them."""
        return [tool for tool in self.tools if isinstance(tool, NamedFunctionTool)]

    @property
    def has_search(self) -> bool:
        """Whether files may be searched."""
        return any(isinstance(tool, FileSearchChoice) for tool in self.tools)


def _only_known_choices(choice: Any) -> Any:
    is_allowed = isinstance(choice, dict) and choice.get("type") == "allowed_tools"
    return choice if is_allowed else _only_chosen(choice)


ResponseToolChoice = Annotated[
    Literal["none", "auto", "required"] | NamedFunctionTool | FileSearchChoice | AllowedResponseTools,
    BeforeValidator(_only_known_choices),
]


def called_functions(tools: Sequence[ResponseTool], choice: ResponseToolChoice | None, parallel: bool | None) -> Tools:
    """The functions and the choice among them, as engines are told them.

    A choice that wants some call is kept by the search, which every response with that tool makes, unless there are
    functions. Raises InvalidArgumentError: the choice is not among the tools, or they are not told from one another.
    """
    known = placed(tools)
    functions = [one.for_chat() for one in known]
    has_search = any(isinstance(tool, FileSearchTool) for tool in tools)
    chosen: Any = choice
    match choice:
        case FileSearchChoice() | AllowedResponseTools(has_search=True) if not has_search:
            raise InvalidArgumentError(
                f"Tool choice '{FILE_SEARCH}' not found in 'tools' parameter.", param="tool_choice"
            )
        case FileSearchChoice():
            chosen = None
        case AllowedResponseTools(functions=[]):
            functions, chosen = [], None
        case AllowedResponseTools():
            allowed = AllowedTools(mode=choice.mode, tools=[one.for_chat(known) for one in choice.functions])
            chosen = AllowedToolsChoice(type="allowed_tools", allowed_tools=allowed)
        case NamedFunctionTool():
            chosen = choice.for_chat(known)
        case "required" if has_search and not functions:
            chosen = None
    called = Tools.of(functions, chosen, parallel)
    return replace(called, tools=described(called.tools, known))


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
            return all(isinstance(tool, FileSearchTool) for tool in tools)
    return False
