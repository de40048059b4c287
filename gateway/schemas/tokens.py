"""POST /v1/tokenize and /v1/detokenize: what may be sent, in vLLM's and in llama.cpp's spelling."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from gateway.schemas.chat_messages import Conversation, file_names, for_engine, image_names
from gateway.schemas.chat_tools import ChatTools, Tools
from gateway.schemas.common import NO_NUL, JsonObject, RequestModel
from jan.errors import InvalidArgumentError

_MAX_TOKENS = 1_000_000
Token = Annotated[int, Field(ge=0, le=2**31 - 1)]


class TokenizeRequest(RequestModel):
    """Either `messages`, or `prompt` (vLLM), or `content` (llama.cpp); what follows each is of the same house."""

    model: str | None = None
    messages: Conversation | None = None
    tools: ChatTools | None = None
    add_generation_prompt: bool = True
    prompt: Annotated[str, NO_NUL] | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None
    content: Annotated[str, NO_NUL] | None = None
    add_special: bool | None = None
    parse_special: bool | None = None
    with_pieces: bool | None = None
    continue_final_message: bool | None = None
    chat_template: Any = None
    chat_template_kwargs: Any = None

    _not_built: ClassVar[tuple[str, ...]] = ("continue_final_message", "chat_template", "chat_template_kwargs")

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        if sum(value is not None for value in (self.messages, self.prompt, self.content)) != 1:
            raise PydanticCustomError("missing", "Send one of {names}", {"names": "messages, prompt and content"})
        return self

    def check_supported(self) -> None:
        """Refuse what would change the answer and is not built. Raises InvalidArgumentError, naming the parameter."""
        refused = [name for name in self._not_built if getattr(self, name)]
        refused += ["parse_special"] if self.parse_special is False else []
        refused += ["add_special_tokens"] if self.messages is not None and self.add_special_tokens else []
        for name in image_names(self.messages or ()):
            message = "The tokens of images have no numbers that could be told; send text only."
            raise InvalidArgumentError(message, param=name, code="unsupported_content")
        for name in file_names(self.messages or ()):
            message = "The tokens of files are not counted; send their texts."
            raise InvalidArgumentError(message, param=name, code="unsupported_content")
        for name in refused:
            message = f"'{name}' is not supported by this server; leave it out."
            raise InvalidArgumentError(message, param=name, code="unsupported_parameter")

    @property
    def begins(self) -> bool:
        """Whether a text is to begin as every prompt does: vLLM's clients expect that, llama.cpp's do not."""
        return bool(self.add_special) if self.content is not None else self.add_special_tokens is not False

    @property
    def pieces(self) -> bool:
        """Whether to tell what each token stands for."""
        return bool(self.with_pieces or self.return_token_strs)

    def chat(self) -> JsonObject | None:
        """What the chat template is told; None for a text."""
        if self.messages is None:
            return None
        messages = for_engine(self.messages)
        tools = Tools.of(self.tools, None, None).parameters().get("tools")
        chat = {"messages": messages, "add_generation_prompt": self.add_generation_prompt, "tools": tools}
        return {name: value for name, value in chat.items() if value is not None}


class DetokenizeRequest(RequestModel):
    """The tokens of a text."""

    model: str | None = None
    tokens: Annotated[list[Token], Field(max_length=_MAX_TOKENS)]
