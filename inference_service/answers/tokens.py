"""A model's own tokens: what can be asked about them, and whether prompt and answer fit its context together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from inference_service.engines.images import has_images
from jan.errors import InvalidArgumentError

_OF_CHATS: Final = ("messages", "tools", "tool_choice", "add_generation_prompt")
UNBOUNDED: Final = 2**62
"""Of a prompt with images nobody knows how many tokens it has but the model that sees them."""
_TEMPLATE_TOKENS: Final = 512
_TOKENS_OF_A_ROLE: Final = 16
"""More than chat templates put around a conversation and around each of its messages."""


@dataclass(frozen=True, slots=True)
class TokenQuestion:
    """A text, or a chat as the model's template tells it: OpenAI's `messages` and `tools`, which go before the text.

    add_special: put what begins every prompt of the model before a text. pieces: tell each token's bytes, too.
    """

    text: str = ""
    chat: Mapping[str, Any] | None = None
    add_special: bool = True
    pieces: bool = False

    def told_by(self, tell: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> TokenQuestion:
        """The same question with its chat, if it has one, as `tell` tells it."""
        return self if self.chat is None else replace(self, chat=tell(self.chat))


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens in order. pieces: what each of them stands for, when that was asked.

    total: how many there are, where images take the place of some, so that not all have a number.
    """

    ids: Sequence[int]
    pieces: Sequence[bytes] = ()
    total: int = 0

    @property
    def count(self) -> int:
        """How many there are."""
        return self.total or len(self.ids)


def chat_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """What of a chat request its template is told."""
    return {name: body[name] for name in _OF_CHATS if body.get(name) is not None}


def most_tokens(body: Mapping[str, Any]) -> int:
    """More tokens than a request's prompt can have: a token stands for a byte at least, and an image for many."""
    if "messages" in body and has_images(body["messages"]):
        return UNBOUNDED
    if "messages" in body:
        return len(orjson.dumps(chat_of(body))) + _TEMPLATE_TOKENS + _TOKENS_OF_A_ROLE * len(body["messages"])
    return max(map(_most_of_prompt, prompts_of(body))) + _TOKENS_OF_A_ROLE


def _most_of_prompt(prompt: Any) -> int:
    return sum(len(part.encode()) if isinstance(part, str) else 1 for part in parts_of(prompt))


def prompts_of(body: Mapping[str, Any]) -> Sequence[Any]:
    """The prompts of a completion; engines are told one alone without a list."""
    prompt = body["prompt"]
    return [prompt] if isinstance(prompt, str) else prompt


def parts_of(prompt: Any) -> Sequence[str | int]:
    """A prompt as texts and tokens."""
    return [prompt] if isinstance(prompt, str) else prompt


def too_long(ctx_len: int, tokens: int, asked: str) -> InvalidArgumentError:
    """OpenAI's sentence, with the numbers, for a prompt that does not fit; `asked` is the field that holds it."""
    message = (
        f"This model's maximum context length is {ctx_len} tokens. "
        f"However, your {asked} resulted in {tokens} tokens. Please reduce the length of the {asked}."
    )
    return InvalidArgumentError(message, code="context_length_exceeded", param=asked)


def too_much(ctx_len: int, prompt_tokens: int, answer_tokens: int, *, chat: bool) -> InvalidArgumentError:
    """OpenAI's sentence, with the numbers, for a prompt and an answer that do not fit together."""
    limit = f"This model's maximum context length is {ctx_len} tokens"
    asked = prompt_tokens + answer_tokens
    if chat:
        message = (
            f"{limit}. However, you requested {asked} tokens ({prompt_tokens} in the messages, {answer_tokens} in the "
            "completion). Please reduce the length of the messages or completion."
        )
    else:
        message = (
            f"{limit}, however you requested {asked} tokens ({prompt_tokens} in your prompt; {answer_tokens} for the "
            "completion). Please reduce your prompt; or completion length."
        )
    param = "messages" if chat else "prompt"
    return InvalidArgumentError(message, code="context_length_exceeded", param=param)
