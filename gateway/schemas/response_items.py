"""Items: what is said in the Responses API, and what may be sent of it (OpenAI's InputItem)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag, model_validator
from pydantic_core import PydanticCustomError

from gateway.schemas.common import COUNTABLE, MAX_PARTS, NO_NUL, RequestModel, Text
from gateway.schemas.compactions import unpack

CallId = Annotated[str, StringConstraints(min_length=1, max_length=256), NO_NUL]
_KNOWN_ITEMS = ("message", "function_call", "function_call_output", "reasoning", "compaction")
_KNOWN_PARTS = ("input_text", "output_text", "text", "refusal")


def _as_parts(content: Any) -> Any:
    return [{"type": "input_text", "text": content}] if isinstance(content, str) else content


def _only_text(part: Any) -> Any:
    """Refuse a part that no model here is shown, by its type."""
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind not in _KNOWN_PARTS:
        message = "Content of type '{kind}' is not supported by this server"
        raise PydanticCustomError("unsupported_content", message, {"kind": kind[:64]})
    return part


class TextPart(RequestModel):
    """A text; an output comes back with what its answer said of it."""

    type: Literal["input_text", "output_text", "text", "refusal"]
    text: Text | None = None
    refusal: Text | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if (self.refusal if self.type == "refusal" else self.text) is None:
            raise PydanticCustomError("missing", "A part of this type needs its text")
        return self

    @property
    def said(self) -> str:
        """The text, whichever kind it is."""
        return self.text or self.refusal or ""


Parts = Annotated[list[Annotated[TextPart, BeforeValidator(_only_text)]], Field(min_length=1, max_length=MAX_PARTS)]


class MessageItem(RequestModel):
    """Something that somebody said."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Annotated[Parts, BeforeValidator(_as_parts)]


class FunctionCallItem(RequestModel):
    """A call of a function that an earlier response made, sent along."""

    type: Literal["function_call"]
    call_id: CallId
    name: Annotated[str, StringConstraints(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    arguments: Text


class FunctionOutputItem(RequestModel):
    """What a function that the client ran gave back."""

    type: Literal["function_call_output"]
    call_id: CallId
    output: Annotated[Parts, BeforeValidator(_as_parts)]

    @property
    def text(self) -> str:
        """The output as models read it."""
        return "\n".join(part.said for part in self.output)


class ThoughtPart(RequestModel):
    """A piece of what a model thought, or of its summary."""

    type: Literal["reasoning_text", "summary_text"]
    text: Text


class ReasoningItem(RequestModel):
    """What a model thought in an earlier response, sent along; no model is shown it again."""

    type: Literal["reasoning"]
    summary: list[ThoughtPart] = Field(default=[], max_length=MAX_PARTS)
    content: Annotated[list[ThoughtPart], Field(max_length=MAX_PARTS)] | None = None

    @property
    def thought(self) -> str:
        """Its words, or those of its summary; of an encrypted one nothing is known."""
        return "\n".join(part.text for part in self.content or self.summary)


class CompactionItem(RequestModel):
    """A summary of what was said before, as `/v1/responses/compact` gives it."""

    type: Literal["compaction"]
    encrypted_content: str

    @model_validator(mode="after")
    def _is_of_this_server(self) -> Self:
        if unpack(self.encrypted_content) is None:
            raise PydanticCustomError("unsupported_content", "This compaction was not made by this server")
        return self

    @property
    def summary(self) -> str:
        """The summary."""
        return unpack(self.encrypted_content) or ""


def _kind_of(item: Any) -> str:
    return str(item.get("type") or "message") if isinstance(item, dict) else "message"


def _only_known(item: Any) -> Any:
    """Refuse an item that only tools of OpenAI's own make, by its type."""
    if (kind := _kind_of(item)) not in _KNOWN_ITEMS:
        message = "Items of type '{kind}' are not supported by this server"
        raise PydanticCustomError("unsupported_content", message, {"kind": kind[:64]})
    return item


def _tag_of(item: Any) -> str:
    """In capitals, so that errors leave it out when they name a field."""
    return _kind_of(item).upper()


Item = Annotated[
    Annotated[MessageItem, Tag("MESSAGE")]
    | Annotated[FunctionCallItem, Tag("FUNCTION_CALL")]
    | Annotated[FunctionOutputItem, Tag("FUNCTION_CALL_OUTPUT")]
    | Annotated[ReasoningItem, Tag("REASONING")]
    | Annotated[CompactionItem, Tag("COMPACTION")],
    Discriminator(_tag_of),
]
AnyItem: TypeAlias = MessageItem | FunctionCallItem | FunctionOutputItem | ReasoningItem | CompactionItem


def _as_items(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


Items = Annotated[list[Annotated[Item, BeforeValidator(_only_known)]], BeforeValidator(_as_items), COUNTABLE]
"""A text stands for one message of the user's."""
