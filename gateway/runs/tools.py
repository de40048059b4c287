"""Which tools a run may have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.http.body import validate
from gateway.schemas.chat_tools import ChatTools, NamedTool, Tools
from gateway.schemas.common import RequestModel
from gateway.schemas.runs import NamedRunTool, RunToolChoice
from gateway.vector_stores.file_search import FILE_SEARCH
from jan.errors import InvalidArgumentError


class _Functions(RequestModel):
    """What models are told of: functions, whose schemas are bounded (docs/security.md S25)."""

    tools: ChatTools


def check_tools(tools: Sequence[dict[str, Any]], choice: RunToolChoice | None) -> None:
    """Raise InvalidArgumentError: a tool that this server does not run, or a choice that is not among the tools.

    Functions are run by the client. Jan's own `retrieval` entry says by `enabled: false` that it is off, and its
    default assistant carries it so.
    """
    enabled = [tool for tool in tools if tool.get("enabled", True)]
    for place, tool in enumerate(tools):
        if tool.get("enabled", True) and tool.get("type") not in {"function", FILE_SEARCH}:
            raise _not_run(tool.get("type"), f"tools[{place}].type")
    own = [tool for tool in enabled if tool.get("type") == "function"]
    functions = validate({"tools": _one_of_a_name(own)}, _Functions).tools
    # The search is a call that every run with the tool makes, so a choice that asks for one is kept by it.
    searches = len(own) < len(enabled)
    is_search = isinstance(choice, NamedRunTool) and choice.type == FILE_SEARCH
    if not (searches and (is_search or (choice == "required" and not own))):
        Tools.of(functions, _as_chats(choice), parallel=None)


def _one_of_a_name(functions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last of each name, as engines are told: assistants that were stored earlier may have two."""
    names = [str((tool.get("function") or {}).get("name")) for tool in functions]
    return list(dict(zip(names, functions, strict=True)).values())


def _as_chats(choice: RunToolChoice | None) -> str | NamedTool | None:
    if not isinstance(choice, NamedRunTool):
        return choice
    if choice.function is None:
        raise _not_run(choice.type, "tool_choice")
    return NamedTool(type="function", function=choice.function)


def _not_run(kind: Any, param: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"This server has no tools of type '{str(kind)[:64]}': there are functions, which you run, and file_search.",
        param=param,
        code="unsupported_tool",
    )
