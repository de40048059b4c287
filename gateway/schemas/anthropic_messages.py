"""POST /v1/messages and /v1/messages/count_tokens: what may be sent (Anthropic's MessageCreateParams).

Every documented parameter is honoured or refused by name, and one that nobody knows is refused too.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from gateway.schemas.anthropic_blocks import (
    CacheControl,
    Messages,
    PlainTexts,
    Sent,
    TextBlock,
    only,
    tag_of,
)
from gateway.schemas.anthropic_tools import NamedChoice, ToolChoice, Tools
from gateway.schemas.chat import unsupported
from gateway.schemas.common import NO_NUL, JsonObject, TopP
from gateway.schemas.response_format import check_answer
from gateway.schemas.sampling import TokenLimit
from jan.errors import InvalidArgumentError

NO_THREADS: Final = "thread_unsupported_request"
"""Anthropic's word, at which its clients send the whole conversation instead."""
_MIN_BUDGET_TOKENS = 1024
StopSequence = Annotated[str, StringConstraints(max_length=256, pattern=r"\S"), NO_NUL]


class MessageMetadata(Sent):
    """What is said of a request beside it."""

    user_id: Annotated[str, StringConstraints(max_length=256)] | None = None


class TellingThinking(Sent):
    """A model that may think; `display` says whether its thoughts are told."""

    display: Literal["summarized", "omitted"] | None = None

    @property
    def is_told(self) -> bool:
        """Whether thoughts are told."""
        return self.display != "omitted"


class EnabledThinking(TellingThinking):
    """The model shall think, so much."""

    type: Literal["enabled"]
    budget_tokens: Annotated[int, Field(ge=_MIN_BUDGET_TOKENS)]

    @property
    def effort(self) -> str:
        """The nearest that chat templates know."""
        return "high" if self.budget_tokens >= 4096 else "medium" if self.budget_tokens >= 2048 else "low"


class AdaptiveThinking(TellingThinking):
    """The model decides."""

    type: Literal["adaptive"]
    effort: ClassVar[None] = None


class DisabledThinking(Sent):
    """The model shall not think."""

    type: Literal["disabled"]
    effort: ClassVar[str] = "none"
    is_told: ClassVar[bool] = False


Thinking = Annotated[
    Annotated[EnabledThinking, Tag("ENABLED")]
    | Annotated[AdaptiveThinking, Tag("ADAPTIVE")]
    | Annotated[DisabledThinking, Tag("DISABLED")],
    Discriminator(tag_of),
    only("enabled", "adaptive", "disabled"),
]


class OutputFormat(Sent):
    """A JSON schema that the answer must satisfy."""

    type: Literal["json_schema"]
    output_schema: JsonObject = Field(alias="schema")

    @model_validator(mode="after")
    def _is_bindable(self) -> Self:
        check_answer("the output", self.output_schema, field="schema")
        return self


class OutputConfig(Sent):
    """How the answer shall be shaped."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class Prompt(Sent):
    """What both requests have in common: all that the model's prompt depends on."""

    model: Annotated[str, StringConstraints(min_length=1)]
    messages: Messages
    system: PlainTexts | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    cache_control: CacheControl | None = None
    speed: Literal["standard"] | None = None
    mcp_servers: Any = None
    context_management: Any = None

    _not_built: ClassVar[tuple[str, ...]] = ("mcp_servers", "context_management")

    def check_supported(self) -> None:
        """Refuse what would change the answer and is not built. Raises InvalidArgumentError, naming the parameter."""
        for name in self._not_built:
            if getattr(self, name):
                raise unsupported(name)
        self._check_tools()
        if self.messages[-1].role == "assistant":
            self._check_prefill()
        if self.output_format is not None and self._format_of_config is not None:
            message = "'output_format' is the older name of 'output_config.format'; send one of them."
            raise InvalidArgumentError(message, param="output_format")

    def _check_prefill(self) -> None:
        """The client has written the beginning of the answer (prefill), which is text that goes on as text."""
        if all(message.role == "assistant" for message in self.messages):
            raise InvalidArgumentError(
                "'messages' needs a user's message in front of a begun answer.", param="messages"
            )
        may_call = bool(self.tools) and (self.tool_choice is None or self.tool_choice.type != "none")
        thinks = self.thinking is not None and self.thinking.type != "disabled"
        for name, is_asked in (("tools", may_call), ("thinking", thinks), ("a format", self.response_format())):
            if is_asked:
                message = f"This server does not go on with a begun answer (prefill) together with {name}."
                raise InvalidArgumentError(message, param="messages", code="unsupported_parameter")
        said = [block.text for block in self.messages[-1].content if isinstance(block, TextBlock)]
        if said and said[-1] != said[-1].rstrip():
            message = "A begun answer cannot end with white space: models go on with a word and the space before it."
            raise InvalidArgumentError(message, param="messages")

    @property
    def _format_of_config(self) -> OutputFormat | None:
        return None if self.output_config is None else self.output_config.format

    def response_format(self) -> JsonObject | None:
        """What shape the answer must have, as chats spell it."""
        asked = self.output_format or self._format_of_config
        if asked is None:
            return None
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": asked.output_schema}}

    def _check_tools(self) -> None:
        names = [tool.name for tool in self.tools or ()]
        if len(set(names)) < len(names):
            raise InvalidArgumentError("Tool names must be unique.", param="tools")
        if self.tool_choice is None:
            return
        if not names and self.tool_choice.type != "none":
            message = "'tool_choice' is only allowed when 'tools' are specified."
            raise InvalidArgumentError(message, param="tool_choice")
        if isinstance(self.tool_choice, NamedChoice) and self.tool_choice.name not in names:
            message = f"Tool '{self.tool_choice.name}' not found in 'tools'."
            raise InvalidArgumentError(message, param="tool_choice.name")


class CountTokensRequest(Prompt):
    """The body of POST /v1/messages/count_tokens."""


class MessagesRequest(Prompt):
    """The body of POST /v1/messages."""

    max_tokens: TokenLimit
    stream: bool | None = None
    stop_sequences: Annotated[list[StopSequence], Field(max_length=16)] | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: TopP | None = None
    top_k: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    metadata: MessageMetadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    container: Any = None
    diagnostics: Any = None
    inference_geo: Any = None
    thread: Any = None
    user_profile_id: Any = None
    workspace_id: Any = None

    _not_built: ClassVar[tuple[str, ...]] = (
        *("mcp_servers", "context_management", "container", "diagnostics", "inference_geo", "user_profile_id"),
        "workspace_id",
    )

    def check_supported(self) -> None:
        """Refuse what would change the answer and is not built. Raises InvalidArgumentError, naming the parameter."""
        super().check_supported()
        if self.thread:
            message = "This server does not hold conversations of messages; send the whole conversation."
            raise InvalidArgumentError(message, param="thread", code=NO_THREADS)
        if isinstance(self.thinking, EnabledThinking) and self.thinking.budget_tokens >= self.max_tokens:
            message = "'thinking.budget_tokens' must be less than 'max_tokens'."
            raise InvalidArgumentError(message, param="thinking.budget_tokens")

    @property
    def person(self) -> str | None:
        """What tells the person behind the request from others."""
        return None if self.metadata is None else self.metadata.user_id
