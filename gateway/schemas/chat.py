"""POST /v1/chat/completions: what may be sent (OpenAI's CreateChatCompletionRequest).

Every documented parameter is honoured or refused by name; docs/compatibility.md lists them. Accepted without an effect
on the answer are labels (`metadata`, `user`, `safety_identifier`), hints about caches, and fields that nobody knows.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from gateway.schemas.chat_messages import Conversation, check_eyes, for_engine
from gateway.schemas.chat_tools import ONE_OF_A_NAME, ChatFunction, ChatTools, FunctionChoice, ToolChoice, Tools
from gateway.schemas.common import JsonObject, Metadata, RequestModel
from gateway.schemas.elsewhere import RefusesElsewheres
from gateway.schemas.response_format import ResponseFormat
from gateway.schemas.sampling import Sampling
from gateway.schemas.tool_messages import check_answered
from jan.errors import InvalidArgumentError

LogitBias = Annotated[
    dict[Annotated[str, StringConstraints(pattern="^[0-9]{1,7}$")], Annotated[float, Field(ge=-100, le=100)]],
    Field(max_length=1024),  # a hundred thousand keep llama.cpp busy for 25 s
]
Choices = Annotated[int, Field(ge=1, le=128)]


class StreamOptions(RequestModel):
    """Options of a streamed answer."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None

    def check_supported(self, *, stream: bool) -> None:
        """Raises InvalidArgumentError: there is no stream, or it shall be padded, which hides nothing on a LAN."""
        if not stream:
            raise InvalidArgumentError("'stream_options' needs 'stream' to be true.", param="stream_options")
        if self.include_obfuscation:
            raise unsupported("stream_options.include_obfuscation")


class PromptCacheOptions(RequestModel):
    """Hints about the prompt cache; engines here keep as much as they have room for."""

    ttl: str | None = None
    mode: str | None = None


class ChatCompletionRequest(RefusesElsewheres, Sampling):
    """The request body."""

    model: Annotated[str, StringConstraints(min_length=1)]
    messages: Conversation
    stream: bool | None = None
    store: bool | None = None
    stream_options: StreamOptions | None = None
    n: Choices | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    logit_bias: LogitBias | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    prediction: JsonObject | None = None
    web_search_options: JsonObject | None = None
    tools: ChatTools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[ChatFunction], Field(max_length=128), ONE_OF_A_NAME] | None = None
    function_call: FunctionChoice | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    audio: Any = None
    moderation: Any = None
    chat_template: Any = None
    chat_template_kwargs: Any = None
    prompt_embeds: Any = None
    best_of: Any = None
    metadata: Metadata | None = None
    user: str | None = None
    safety_identifier: Annotated[str, StringConstraints(max_length=64)] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    prompt_cache_options: PromptCacheOptions | None = None
    service_tier: str | None = None

    _passed_on: ClassVar[tuple[str, ...]] = (
        *("temperature", "top_p", "n", "stop", "seed", "logprobs", "top_logprobs", "presence_penalty"),
        *("frequency_penalty", "logit_bias", "top_k", "min_p", "repeat_penalty", "reasoning_effort"),
    )
    _not_built: ClassVar[tuple[str, ...]] = (
        *("audio", "moderation"),
        # Other servers' ways to change an engine's insides (docs/security.md S22).
        *("chat_template", "chat_template_kwargs", "prompt_embeds", "best_of"),
    )
    _partly: ClassVar[dict[str, str]] = {
        "messages": "text; images for models that see; files' texts; no audio; `prompt_cache_breakpoint` is ignored",
        "metadata": "kept with `store`",
        "modalities": "`text` alone",
        "stream_options": "`include_obfuscation` is refused",
        "tools": "functions; custom tools are refused",
        "tool_choice": "custom tools are refused",
    }
    """What of a parameter is there (docs/compatibility.md)."""
    _labels: ClassVar[tuple[str, ...]] = ("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options")
    """What may be sent and changes no answer (docs/compatibility.md)."""
    _of_remote_models: ClassVar[tuple[str, ...]] = ("verbosity", "prediction", "web_search_options")
    """What no engine of ours can do, and the server of a remote model may."""

    def check_supported(self, *, remote: bool = False, sees: bool = False) -> None:
        """Refuse what would change the answer and is not built. Raises InvalidArgumentError, naming the parameter.

        remote: the model is served elsewhere, where more may be possible; its server says what is not. sees: a model of
        ours takes images.
        """
        for name in self._not_built:
            if getattr(self, name):
                raise unsupported(name)
        check_answered(self.messages)
        if not remote:
            self._check_local(sees=sees)
        if self.modalities and self.modalities != ["text"]:
            raise InvalidArgumentError("Only text can be generated.", param="modalities", code="unsupported_parameter")
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidArgumentError("'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs")
        if self.stream_options is not None:
            self.stream_options.check_supported(stream=bool(self.stream))
        self.called()

    def _check_local(self, *, sees: bool) -> None:
        # `medium` is what every model does when it is told nothing; an empty option asks for nothing.
        asked = {name: getattr(self, name) for name in self._of_remote_models} | {
            "verbosity": self.verbosity if self.verbosity != "medium" else None
        }
        for name, value in asked.items():
            if value is not None:
                raise unsupported(name)
        check_eyes(self.messages, self.model, sees=sees)

    def called(self) -> Tools:
        """The tools, and the choice among them. Raises InvalidArgumentError: the choice is not among them."""
        if not self.functions and self.function_call is None:
            return Tools.of(self.tools, self.tool_choice, self.parallel_tool_calls)
        if self.tools:
            message = "'functions' and 'tools' cannot be sent together; 'functions' is the older spelling."
            raise InvalidArgumentError(message, param="functions")
        if not self.functions:
            message = "'function_call' is only allowed when 'functions' are specified."
            raise InvalidArgumentError(message, param="function_call")
        return Tools.of_functions(self.functions, self.function_call)

    def parameters(self) -> JsonObject:
        """What was sent but model and messages, in the engine's spelling; of two token limits the lower one holds."""
        values = {name: getattr(self, name) for name in (*self._passed_on, *self._of_remote_models)}
        values |= self.called().parameters()
        limits = [limit for limit in (self.max_completion_tokens, self.max_tokens) if limit is not None]
        values["max_tokens"] = min(limits, default=None)
        if self.response_format is not None:
            values["response_format"] = self.response_format.model_dump(exclude_none=True, by_alias=True)
        return {name: value for name, value in values.items() if value is not None}

    def conversation(self) -> list[JsonObject]:
        """The messages as chat templates know them."""
        return for_engine(self.messages)

    @property
    def person(self) -> str | None:
        """What tells the person behind the request from others; `user` is the older name for it."""
        return self.safety_identifier or self.user

    @property
    def wants_usage(self) -> bool:
        """Whether a stream shall end with a usage chunk."""
        return bool(self.stream and self.stream_options and self.stream_options.include_usage)


def unsupported(name: str) -> InvalidArgumentError:
    """The error for a parameter that is known and cannot be honoured."""
    message = f"'{name}' is not supported by this server; leave it out."
    return InvalidArgumentError(message, param=name, code="unsupported_parameter")
