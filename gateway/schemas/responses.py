"""POST /v1/responses: what may be sent (OpenAI's CreateResponse).

Every documented parameter is honoured or refused by name, and one that nobody knows is refused too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from multidict import MultiMapping
from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, StringConstraints, Tag, model_validator
from pydantic_core import PydanticCustomError

from gateway.schemas.chat import StreamOptions, unsupported
from gateway.schemas.chat_tools import (
    ONE_OF_A_NAME,
    AllowedTools,
    AllowedToolsChoice,
    ChatFunction,
    ChatTool,
    NamedTool,
    Tools,
)
from gateway.schemas.common import NO_NUL, JsonObject, Metadata, RequestModel, Temperature, TopP, one_of
from gateway.schemas.response_format import JsonSchemaFormat
from gateway.schemas.response_items import Items
from gateway.schemas.sampling import TokenLimit
from jan.errors import InvalidArgumentError

# What may be asked to be told of tools that are not here: there is never anything to tell.
_NEVER_THERE = frozenset(
    {
        *("file_search_call.results", "web_search_call.results", "web_search_call.action.sources"),
        *("code_interpreter_call.outputs", "computer_call_output.output.image_url"),
        *("reasoning.encrypted_content", "message.input_image.image_url"),
    }
)


# What of a parameter is there (docs/compatibility.md).
_PARTLY: Final = {
    "input": "texts, images, documents without `file_url`, calls and outputs, reasoning, compactions, references",
    "include": "`message.output_text.logprobs` is refused; of the others there is never anything",
    "max_tool_calls": "it counts built-in tools, of which there are none",
    "reasoning": "`effort`; of summaries `auto` alone, which gives none; `mode` standard, `context` auto",
    "stream_options": "`include_obfuscation` is refused",
    "text": "`verbosity` other than medium is refused",
    "tools": "functions, without `output_schema`, `defer_loading` and programs that call them; all others are refused",
    "top_logprobs": "0 alone",
}


class PlainFormat(RequestModel):
    """Free text, or any JSON object."""

    type: Annotated[Literal["text", "json_object"], one_of("text", "json_object", "json_schema")]


class SchemaFormat(JsonSchemaFormat):
    """JSON of a schema, whose fields stand beside the type here."""

    type: Literal["json_schema"]

    @model_validator(mode="after")
    def _is_bindable(self) -> Self:
        self.check("schema")
        return self


def _tag_of(format_: Any) -> str:
    kind = format_.get("type") if isinstance(format_, dict) else getattr(format_, "type", None)
    return "SCHEMA" if kind == "json_schema" else "PLAIN"  # in capitals, so that errors leave it out


class TextOptions(RequestModel):
    """How the text shall be shaped."""

    format: (
        Annotated[
            Annotated[PlainFormat, Tag("PLAIN")] | Annotated[SchemaFormat, Tag("SCHEMA")],
            Discriminator(_tag_of),
        ]
        | None
    ) = None
    verbosity: Literal["low", "medium", "high"] | None = None

    def for_engine(self) -> JsonObject | None:
        """The format as chats spell it; None for free text."""
        if isinstance(self.format, SchemaFormat):
            schema = self.format.model_dump(exclude_none=True, by_alias=True, exclude={"type"})
            return {"type": "json_schema", "json_schema": schema}
        return None if self.format is None or self.format.type == "text" else {"type": self.format.type}


class Reasoning(RequestModel):
    """How much the model shall think."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: str | None = None
    generate_summary: str | None = None
    mode: str | None = None
    context: str | None = None


def _only_functions(tool: Any) -> Any:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if isinstance(kind, str) and kind != "function":
        message = "This server runs no tools of type '{kind}': functions, which you run yourself, are the only ones"
        raise PydanticCustomError("unsupported_parameter", message, {"kind": kind[:64]})
    return tool


ONLY_FUNCTIONS = BeforeValidator(_only_functions)


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


class NamedFunctionTool(RequestModel):
    """One function by its name."""

    type: Literal["function"]
    name: Annotated[str, StringConstraints(pattern="^[a-zA-Z0-9_-]{1,64}$")]

    def for_chat(self) -> NamedTool:
        """The choice as chats spell it."""
        return NamedTool.model_validate({"type": "function", "function": {"name": self.name}})


class AllowedFunctions(RequestModel):
    """Those of the functions that may be called now."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[Annotated[NamedFunctionTool, ONLY_FUNCTIONS]], Field(min_length=1, max_length=128)]

    def for_chat(self) -> AllowedToolsChoice:
        """The choice as chats spell it."""
        allowed = AllowedTools(mode=self.mode, tools=[tool.for_chat() for tool in self.tools])
        return AllowedToolsChoice(type="allowed_tools", allowed_tools=allowed)


def _only_function_choices(choice: Any) -> Any:
    is_allowed = isinstance(choice, dict) and choice.get("type") == "allowed_tools"
    return choice if is_allowed else _only_functions(choice)


ResponseToolChoice = Annotated[
    Literal["none", "auto", "required"] | NamedFunctionTool | AllowedFunctions, BeforeValidator(_only_function_choices)
]


class ConversationReference(RequestModel):
    """A conversation by its id."""

    id: str


def _as_reference(value: Any) -> Any:
    return {"id": value} if isinstance(value, str) else value


class CreateResponse(RequestModel):
    """The request body."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, StringConstraints(min_length=1)]
    input: Items = Field(default=[])
    instructions: Annotated[str, StringConstraints(max_length=256_000), NO_NUL] | None = None
    previous_response_id: str | None = None
    conversation: Annotated[ConversationReference | None, BeforeValidator(_as_reference)] = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None
    background: bool | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    max_output_tokens: TokenLimit | None = None
    text: TextOptions | None = None
    tools: Annotated[list[Annotated[FunctionTool, ONLY_FUNCTIONS]], Field(max_length=128), ONE_OF_A_NAME] | None = None
    tool_choice: ResponseToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: Annotated[int, Field(ge=1)] | None = None
    reasoning: Reasoning | None = None
    truncation: Literal["auto", "disabled"] | None = None
    include: Annotated[list[str], Field(max_length=16)] | None = None
    metadata: Metadata | None = None
    user: str | None = None
    safety_identifier: Annotated[str, StringConstraints(max_length=64)] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    prompt_cache_options: JsonObject | None = None
    service_tier: str | None = None
    prompt: Any = None
    moderation: Any = None
    context_management: Any = None

    _not_built: ClassVar[tuple[str, ...]] = ("prompt", "moderation", "context_management")
    _partly: ClassVar[dict[str, str]] = _PARTLY
    _labels: ClassVar[tuple[str, ...]] = ("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options")
    _said_by: ClassVar[str] = "'input', 'previous_response_id' or 'conversation'"

    def check_supported(self) -> None:
        """Refuse what would change the answer and is not built. Raises InvalidArgumentError, naming the parameter."""
        for name in self._not_built:
            if getattr(self, name):
                raise unsupported(name)
        text, reasoning = self.text or TextOptions(), self.reasoning or Reasoning()
        refused = {
            "top_logprobs": bool(self.top_logprobs),
            "text.verbosity": text.verbosity not in (None, "medium"),
            # Nobody sums thoughts up here, which `auto` leaves to us; they are told in full.
            "reasoning.summary": reasoning.summary not in (None, "auto"),
            "reasoning.generate_summary": reasoning.generate_summary not in (None, "auto"),
            "reasoning.mode": reasoning.mode not in (None, "standard"),
            # No model is shown thoughts again, which `auto` leaves to us.
            "reasoning.context": reasoning.context not in (None, "auto"),
            **{f"tools[{place}].{tool.refused}": bool(tool.refused) for place, tool in enumerate(self.tools or ())},
        }
        for name, is_asked in refused.items():
            if is_asked:
                raise unsupported(name)
        check_include(self.include or ())
        if self.stream_options is not None:
            self.stream_options.check_supported(stream=bool(self.stream))
        self._check_place()
        self.called()

    def _check_place(self) -> None:
        if self.conversation is not None and self.previous_response_id is not None:
            raise InvalidArgumentError(
                "'previous_response_id' and 'conversation' cannot be sent together.", param="previous_response_id"
            )
        if not self.input and self.conversation is None and self.previous_response_id is None:
            message = f"One of {self._said_by} must be sent."
            raise InvalidArgumentError(message, param="input", code="missing_required_parameter")
        if self.store is False and (self.background or self.conversation is not None):
            message = "A response in the background, or in a conversation, is stored: leave 'store' out."
            raise InvalidArgumentError(message, param="store")

    def called(self) -> Tools:
        """The tools, and the choice among them. Raises InvalidArgumentError: the choice is not among them."""
        choice = self.tool_choice
        spelled = choice if choice is None or isinstance(choice, str) else choice.for_chat()
        return Tools.of([tool.for_chat() for tool in self.tools or ()], spelled, self.parallel_tool_calls)

    @property
    def callable_places(self) -> list[int]:
        """Where those of the tools stand that may be called."""
        names = {tool.function.name for tool in self.called().tools}
        return [place for place, tool in enumerate(self.tools or ()) if tool.name in names]

    @property
    def person(self) -> str | None:
        """What tells the person behind the request from others; `user` is the older name for it."""
        return self.safety_identifier or self.user

    def told_back(self) -> JsonObject:
        """What an answer repeats of the request and a run has no word for."""
        text, reasoning = self.text or TextOptions(), self.reasoning or Reasoning()
        shape = text.format or PlainFormat(type="text")
        choice = self.tool_choice
        return {
            "instructions": self.instructions,
            "previous_response_id": self.previous_response_id,
            "background": bool(self.background),
            "text": {"format": shape.model_dump(exclude_none=True, by_alias=True), "verbosity": "medium"},
            "reasoning": {"effort": reasoning.effort, "summary": reasoning.summary},
            "tools": [_whole_tool(tool) for tool in self.tools or ()],
            "tool_choice": "auto" if choice is None else choice if isinstance(choice, str) else choice.model_dump(),
            "truncation": self.truncation or "disabled",
            "max_tool_calls": self.max_tool_calls,
            "user": self.user,
            "safety_identifier": self.safety_identifier,
            "prompt_cache_key": self.prompt_cache_key,
        }


class CountInputTokens(CreateResponse):
    """POST /v1/responses/input_tokens: the same request, as far as the model's prompt depends on it."""

    personality: Any = None

    _not_built: ClassVar[tuple[str, ...]] = ("prompt", "moderation", "context_management", "personality")
    _counted: ClassVar[frozenset[str]] = frozenset(
        {
            *("model", "input", "instructions", "previous_response_id", "conversation", "tools", "tool_choice"),
            *("parallel_tool_calls", "reasoning", "text", "truncation"),
        }
    )
    _partly: ClassVar[dict[str, str]] = {
        **_PARTLY,
        "input": _PARTLY["input"].replace(", images", ", no images"),
    }

    def check_supported(self) -> None:
        """The same, and whatever the prompt does not depend on. Raises InvalidArgumentError, naming the parameter."""
        for name in sorted(self.model_fields_set - self._counted):
            if getattr(self, name) is not None:
                raise unsupported(name)
        super().check_supported()


class CompactResponse(CountInputTokens):
    """POST /v1/responses/compact: what the conversation is, and who sums it up."""

    _counted: ClassVar[frozenset[str]] = frozenset(
        {
            *("model", "input", "instructions", "previous_response_id", "service_tier"),
            *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"),
        }
    )
    _partly: ClassVar[dict[str, str]] = _PARTLY
    _said_by: ClassVar[str] = "'input' or 'previous_response_id'"


def _whole_tool(tool: FunctionTool) -> JsonObject:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": bool(tool.strict),
    }


def check_include(names: Iterable[str]) -> None:
    """Raise InvalidArgumentError: more is to be told than is known here."""
    if not _NEVER_THERE.issuperset(names):
        raise unsupported("include")


def check_include_of(query: MultiMapping[str]) -> None:
    """The same for the parameters of a URL, in both of the SDKs' spellings; padding of a stream is refused too."""
    if query.get("include_obfuscation") not in (None, "false"):
        raise unsupported("include_obfuscation")
    check_include([*query.getall("include", []), *query.getall("include[]", [])])
