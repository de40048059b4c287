"""POST /v1/chat/completions: what may be sent (OpenAI's CreateChatCompletionRequest).

What would change the answer and cannot be honoured is refused by name. Accepted and ignored are hints that no model
here takes (`reasoning_effort`, `service_tier`) and fields that nobody knows.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from gateway.schemas.chat_tools import ChatTools, ToolChoice, check_choice, tool_parameters
from gateway.schemas.common import COUNTABLE, JsonObject, Metadata, RequestModel, Text
from gateway.schemas.response_format import ResponseFormat
from gateway.schemas.sampling import Sampling
from jan.errors import InvalidArgumentError


def _as_parts(value: Any) -> Any:
    """OpenAI's content is a string or a list of parts; here always parts."""
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


class TextPart(RequestModel):
    """A piece of a message. Models here read text."""

    type: Literal["text", "refusal"]
    text: Text = ""
    refusal: Text = ""


Content = Annotated[list[TextPart], BeforeValidator(_as_parts)]


class CalledFunction(RequestModel):
    """What a model called: `arguments` is JSON in text, as the model wrote it."""

    name: Annotated[str, StringConstraints(min_length=1)]
    arguments: Text


class ToolCall(RequestModel):
    """A call that the model made earlier in the conversation."""

    id: Annotated[str, StringConstraints(min_length=1)]
    type: Literal["function"]
    function: CalledFunction


class ChatMessage(RequestModel):
    """One message of the conversation."""

    role: Literal["developer", "system", "user", "assistant", "tool"]
    content: Content | None = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=128)] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _has_something_to_say(self) -> Self:
        if not self.content and not (self.role == "assistant" and self.tool_calls):
            raise ValueError("a message needs content")
        if self.role == "tool" and not self.tool_call_id:
            raise ValueError("a tool message needs tool_call_id")
        return self

    def for_engine(self) -> JsonObject:
        """The message as chat templates know it: plain text, `developer` as `system`."""
        message: JsonObject = {"role": "system" if self.role == "developer" else self.role}
        message["content"] = None if self.content is None else "".join(p.text or p.refusal for p in self.content)
        for field in ("name", "tool_call_id"):
            if (value := getattr(self, field)) is not None:
                message[field] = value
        if self.tool_calls:
            message["tool_calls"] = [call.model_dump() for call in self.tool_calls]
        return message


LogitBias = Annotated[
    dict[Annotated[str, StringConstraints(pattern="^[0-9]{1,7}$")], Annotated[float, Field(ge=-100, le=100)]],
    Field(max_length=1024),  # a hundred thousand keep llama.cpp busy for 25 s
]


class StreamOptions(RequestModel):
    """Options of a streamed answer."""

    include_usage: bool | None = None


class ChatCompletionRequest(Sampling):
    """The request body."""

    model: Annotated[str, StringConstraints(min_length=1)]
    messages: Annotated[list[ChatMessage], Field(min_length=1), COUNTABLE]
    stream: bool | None = None
    store: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=16)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    logit_bias: LogitBias | None = None
    response_format: ResponseFormat | None = None
    tools: ChatTools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Any] | None = None
    audio: Any = None
    modalities: list[str] | None = None
    prediction: Any = None
    web_search_options: Any = None
    chat_template: Any = None
    chat_template_kwargs: Any = None
    prompt_embeds: Any = None
    best_of: Any = None
    metadata: Metadata | None = None
    user: str | None = None
    service_tier: str | None = None

    _passed_on: ClassVar[tuple[str, ...]] = (
        "temperature",
        "top_p",
        "n",
        "stop",
        "seed",
        "logprobs",
        "top_logprobs",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "top_k",
        "min_p",
        "repeat_penalty",
    )
    _not_built: ClassVar[tuple[str, ...]] = (
        "functions",
        "audio",
        "prediction",
        "web_search_options",
        # Other servers' ways to change an engine's insides (docs/security.md S22).
        "chat_template",
        "chat_template_kwargs",
        "prompt_embeds",
        "best_of",
    )

    def check_supported(self) -> None:
        """Refuse what would change the answer and is not built. Raises InvalidArgumentError, naming the parameter."""
        for name in self._not_built:
            if getattr(self, name):
                raise InvalidArgumentError(
                    f"'{name}' is not supported by this server; leave it out.",
                    param=name,
                    code="unsupported_parameter",
                )
        check_choice(self.tools or (), self.tool_choice)
        if self.modalities and self.modalities != ["text"]:
            raise InvalidArgumentError("Only text can be generated.", param="modalities", code="unsupported_parameter")
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidArgumentError("'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs")
        if self.stream_options is not None and not self.stream:
            raise InvalidArgumentError("'stream_options' needs 'stream' to be true.", param="stream_options")

    def parameters(self) -> JsonObject:
        """The sampling parameters that were sent, in the engine's spelling; both token limits are `max_tokens`."""
        values = {name: getattr(self, name) for name in self._passed_on}
        values |= tool_parameters(self.tools, self.tool_choice, self.parallel_tool_calls)
        values["max_tokens"] = self.max_completion_tokens or self.max_tokens
        if self.response_format is not None:
            values["response_format"] = self.response_format.model_dump(exclude_none=True, by_alias=True)
        return {name: value for name, value in values.items() if value is not None}

    @property
    def wants_usage(self) -> bool:
        """Whether a stream shall end with a usage chunk."""
        return bool(self.stream and self.stream_options and self.stream_options.include_usage)
