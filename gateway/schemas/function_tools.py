"""Functions of a response, which the client runs: alone or in namespaces, and where a request has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from gateway.schemas.chat_tools import ONE_OF_A_NAME, ChatFunction, ChatTool, FunctionName, NamedFunction, NamedTool
from gateway.schemas.common import JsonObject, RequestModel, Text
from gateway.schemas.namespaces import Namespace, NamespacedName, flat_name
from jan.errors import InvalidArgumentError

NAMESPACE: Final = "namespace"
_MAX_FUNCTIONS = 128


def _only_functions(tool: Any) -> Any:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if isinstance(kind, str) and kind != "function":
        message = "Namespaces here have no tools of type '{kind}': there are functions, which you run"
        raise PydanticCustomError("unsupported_parameter", message, {"kind": kind[:64]})
    return tool


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

    def for_chat(self, namespace: str | None) -> ChatTool:
        """The tool as chats spell it."""
        fields = {name: getattr(self, name) for name in ChatFunction.model_fields}
        fields["name"] = flat_name(self.name, namespace)
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


class NamespacedFunction(FunctionTool):
    """A function of a namespace."""

    name: NamespacedName


class NamespaceTool(RequestModel):
    """Functions that belong together; what is said of them all is shown to the model with the first of them."""

    type: Literal["namespace"]
    name: Namespace
    description: Text | None = None
    tools: Annotated[
        list[Annotated[NamespacedFunction, BeforeValidator(_only_functions)]],
        Field(min_length=1, max_length=128),
        ONE_OF_A_NAME,
    ]

    def told_back(self) -> JsonObject:
        """The tool as an answer repeats it."""
        functions = [one.told_back() for one in self.tools]
        return {"type": NAMESPACE, "name": self.name, "description": self.description or "", "tools": functions}


@dataclass(frozen=True, slots=True)
class Placed:
    """A function where the request has it. place: as errors call it, as `tools[4].tools[2]`."""

    place: str
    function: FunctionTool
    namespace: NamespaceTool | None = None

    @property
    def flat_name(self) -> str:
        """The name by which engines know it."""
        return flat_name(self.function.name, self.namespace.name if self.namespace else None)

    def for_chat(self) -> ChatTool:
        """The tool as chats spell it."""
        return self.function.for_chat(self.namespace.name if self.namespace else None)


def placed(tools: Sequence[Any]) -> list[Placed]:
    """All functions, in order. Raises InvalidArgumentError: too many, or engines would know two by one name."""
    found = list(_placed(tools))
    if len(found) > _MAX_FUNCTIONS:
        raise InvalidArgumentError(f"There are more than {_MAX_FUNCTIONS} functions in 'tools'.", param="tools")
    seen: set[str] = set()
    for one in found:
        if one.flat_name in seen:
            message = f"Another tool goes by the name '{one.flat_name}', as models are told this one's."
            raise InvalidArgumentError(message, param=f"{one.place}.name")
        seen.add(one.flat_name)
    return found


def _placed(tools: Sequence[Any]) -> Iterator[Placed]:
    for number, tool in enumerate(tools):
        if isinstance(tool, FunctionTool):
            yield Placed(f"tools[{number}]", tool)
        elif isinstance(tool, NamespaceTool):
            for place, function in enumerate(tool.tools):
                yield Placed(f"tools[{number}].tools[{place}]", function, tool)


class NamedFunctionTool(RequestModel):
    """One function by its name. namespace: ours, where two namespaces have a function of that name."""

    type: Literal["function"]
    name: NamespacedName
    namespace: Namespace | None = None

    def for_chat(self, known: Sequence[Placed]) -> NamedTool:
        """The choice as chats spell it. Raises InvalidArgumentError: several namespaces have such a function."""
        found = [one.flat_name for one in known if one.namespace and one.function.name == self.name]
        is_plain = any(one.namespace is None and one.function.name == self.name for one in known)
        if self.namespace is not None or is_plain or not found:
            return _named(flat_name(self.name, self.namespace))
        if len(found) > 1:
            message = f"Several namespaces have a function '{self.name}': say which by 'namespace'."
            raise InvalidArgumentError(message, param="tool_choice")
        return _named(found[0])


def _named(name: FunctionName) -> NamedTool:
    return NamedTool(type="function", function=NamedFunction(name=name))


def described(tools: Sequence[ChatTool], known: Sequence[Placed]) -> list[ChatTool]:
    """The tools; the first of each namespace says in front of its own description what its namespace is."""
    namespaces: Mapping[str, NamespaceTool | None] = {one.flat_name: one.namespace for one in known}
    told: set[str] = set()
    described = []
    for tool in tools:
        space = namespaces[tool.function.name]
        if space is None or not space.description or space.name in told:
            described.append(tool)
            continue
        told.add(space.name)
        texts = (f"[{space.name}: {space.description}]", tool.function.description)
        function = tool.function.model_copy(update={"description": "\n\n".join(filter(None, texts))})
        described.append(tool.model_copy(update={"function": function}))
    return described
