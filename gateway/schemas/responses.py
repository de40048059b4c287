"""POST /v1/responses: what may be sent (OpenAI's CreateResponse).

Every documented parameter is honoured or refused by name, and one that nobody knows is refused too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from multidict import MultiMapping
from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, StringConstraints, Tag, model_validator

from gateway.http.wording import unsupported_value
from gateway.schemas.chat import StreamOptions, unsupported
from gateway.schemas.chat_tools import Tools
from gateway.schemas.common import NO_NUL, JsonObject, Metadata, RequestModel, Temperature, TopP, one_of
from gateway.schemas.function_tools import Placed, placed
from gateway.schemas.response_format import JsonSchemaFormat
from gateway.schemas.response_items import Items
from gateway.schemas.response_tools import (
    FileSearchTool,
    ResponseToolChoice,
    ResponseTools,
    called_functions,
    must_search,
    search_of,
)
from gateway.schemas.sampling import TokenLimit
from jan.errors import InvalidArgumentError

_SEARCH_RESULTS = "file_search_call.results"
# What may be asked to be told of tools that are not here: there is never anything to tell.
_NEVER_THERE = frozenset(
    {
        *("web_search_call.results", "web_search_call.action.sources"),
        *("code_interpreter_call.outputs", "computer_call_output.output.image_url"),
        *("reasoning.encrypted_content", "message.input_image.image_url"),
    }
)


# What of a parameter is there (docs/compatibility.md).
_PARTLY: Final = {
    "input": (
        "texts, images, documents without `file_url`, calls and outputs, searches of files, reasoning, compactions, "
        "references"
    ),
    "include": (
        "`message.output_text.logprobs` is refused; of others than `file_search_call.results` there is never anything"
    ),
    "max_tool_calls": "it counts built-in tools; the one search of files that a response makes is never more",
    "reasoning": "`effort`; of summaries `auto` alone, which gives none; `mode` standard, `context` auto",
    "stream_options": "`include_obfuscation` is refused",
    "text": "`verbosity` other than medium is refused",
    "tools": (
        "`file_search`, and functions, also of a `namespace`, without `output_schema`, `defer_loading` and programs "
        "that call them; all others are refused"
    ),
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
    tools: ResponseTools | None = None
    tool_choice: ResponseToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: Annotated[int, Field(ge=1)] | None = None
    reasoning: Reasoning | None = None
    truncation: Literal["auto", "disabled"] | None = None
    include: Annotated[list[str], Field(max_length=16)] | None = None
    metadata: Metadata | None = None
    client_metadata: JsonObject | None = None
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
    _labels: ClassVar[tuple[str, ...]] = (
        *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"),
        "client_metadata",  # undocumented; Codex sends it, whatever it is told
    )
    _said_by: ClassVar[str] = "'input', 'previous_response_id' or 'conversation'"
    calls_may_wait: ClassVar[bool] = False
    """Whether calls without their outputs may be sent, or stand in front."""

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
            **{f"{one.place}.{one.function.refused}": bool(one.function.refused) for one in self._functions},
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
            message = "Mutually exclusive parameters: send only one of 'previous_response_id' and 'conversation'."
            raise InvalidArgumentError(message, param="previous_response_id", code="mutually_exclusive_parameters")
        if not self.input and self.conversation is None and self.previous_response_id is None:
            message = f"One of {self._said_by} must be sent."
            raise InvalidArgumentError(message, param="input", code="missing_required_parameter")
        if self.store is False and (self.background or self.conversation is not None):
            message = "A response in the background, or in a conversation, is stored: leave 'store' out."
            raise InvalidArgumentError(message, param="store")

    @property
    def _functions(self) -> list[Placed]:
        return placed(self.tools or ())

    def called(self) -> Tools:
        """The functions, and the choice among them. Raises InvalidArgumentError: the choice is not among the tools."""
        return called_functions(self.tools or (), self.tool_choice, self.parallel_tool_calls)

    @property
    def search(self) -> FileSearchTool | None:
        """The search of files that is made before the model is asked."""
        return search_of(self.tools or (), self.tool_choice)

    @property
    def must_search(self) -> bool:
        """Whether that is to be made in any case."""
        return must_search(self.tools or (), self.tool_choice)

    @property
    def shows_results(self) -> bool:
        """Whether the answer is to tell what a search of files found."""
        return _SEARCH_RESULTS in (self.include or ())

    @property
    def callable_places(self) -> list[str]:
        """Where those of the functions stand that may be called, as errors call them."""
        names = {tool.function.name for tool in self.called().tools}
        return [one.place for one in self._functions if one.flat_name in names]

    @property
    def person(self) -> str | None:
        """What tells the person behind the request from others; `user` is the older name for it."""
        return self.safety_identifier or self.user

    def told_back(self) -> JsonObject:
        """What an answer repeats of the request and a run has no word for."""
        text, reasoning = self.text or TextOptions(), self.reasoning or Reasoning()
        shape = text.format or PlainFormat(type="text")
        choice = "auto" if self.tool_choice is None else self.tool_choice
        return {
            "instructions": self.instructions,
            "previous_response_id": self.previous_response_id,
            "background": bool(self.background),
            "text": {"format": shape.model_dump(exclude_none=True, by_alias=True), "verbosity": "medium"},
            "reasoning": {"effort": reasoning.effort, "summary": reasoning.summary},
            "tools": [tool.told_back() for tool in self.tools or ()],
            "tool_choice": choice if isinstance(choice, str) else choice.model_dump(exclude_none=True),
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
    # Those that wait are kept as they are.
    calls_may_wait: ClassVar[bool] = True


def check_include(names: Iterable[str]) -> None:
    """Raise InvalidArgumentError: more is to be told than is known here."""
    supported = _NEVER_THERE | {_SEARCH_RESULTS}
    for name in names:
        if name not in supported:
            raise InvalidArgumentError(
                unsupported_value(name, sorted(supported)), param="include", code="unsupported_parameter"
            )


def includes_results(query: MultiMapping[str]) -> bool:
    """Whether a URL asks to be told what searches of files found, in either of the SDKs' spellings.

    Raises InvalidArgumentError: more is to be told than is known here; padding of a stream is refused too.
    """
    if query.get("include_obfuscation") not in (None, "false"):
        raise unsupported("include_obfuscation")
    asked = [*query.getall("include", []), *query.getall("include[]", [])]
    check_include(asked)
    return _SEARCH_RESULTS in asked
