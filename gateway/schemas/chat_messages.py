"""The messages of a chat, as OpenAI's clients write them and as chat templates know them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from gateway.http.refusals import FIELD
from gateway.schemas.common import COUNTABLE, JsonObject, RequestModel, Text, missing
from gateway.schemas.sent_files import SentFile
from jan.errors import InvalidArgumentError

_UNREADABLE = {
    "input_audio": "Models on this server hear no audio; write it as text",
}
_IMAGE, _FILE = "image_url", "file"


def _as_parts(value: Any) -> Any:
    """OpenAI's content is a string or a list of parts; here always parts."""
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


class ImageUrl(RequestModel):
    """Where an image lies: an address, or the image itself as a `data:` URL."""

    url: Annotated[Text, StringConstraints(min_length=1, pattern="^(https?://|data:image/)")]
    detail: Literal["auto", "low", "high"] | None = None


class Part(RequestModel):
    """A piece of a message: text, an image for a model that sees, or a document whose text is read for the model."""

    type: Literal["text", "refusal", "image_url", "file"]
    text: Text = ""
    refusal: Text = ""
    image_url: ImageUrl | None = None
    file: SentFile | None = None

    @model_validator(mode="before")
    @classmethod
    def _can_be_read(cls, value: Any) -> Any:
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind in _UNREADABLE:
            raise PydanticCustomError("unsupported_content", _UNREADABLE[kind])
        return value

    @model_validator(mode="after")
    def _has_its_image(self) -> Self:
        if self.type == _IMAGE and self.image_url is None:
            raise missing(_IMAGE)
        if self.type == _FILE and self.file is None:
            raise missing(_FILE)
        return self

    @property
    def is_image(self) -> bool:
        """Whether only a model that sees can read it."""
        return self.type == _IMAGE

    @property
    def said(self) -> str:
        """Its text."""
        return self.text or self.refusal

    def for_engine(self) -> JsonObject:
        """The part as OpenAI spells it."""
        if self.image_url is not None:
            return {"type": _IMAGE, _IMAGE: self.image_url.model_dump(exclude_none=True)}
        return {"type": "text", "text": self.said}


Content = Annotated[list[Part], BeforeValidator(_as_parts)]


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
    """One message of the conversation. `function_call` and the role `function` are what came before tools."""

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: Content | None = None
    refusal: Text | None = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=128)] | None = None
    tool_call_id: str | None = None
    function_call: CalledFunction | None = None
    audio: Any = None

    @model_validator(mode="after")
    def _has_something_to_say(self) -> Self:
        if self.audio:
            raise PydanticCustomError("unsupported_content", "'audio' of an earlier answer is not kept on this server")
        called = self.tool_calls or self.function_call or self.refusal
        if self.content is None and not (self.role == "assistant" and called):
            raise missing("content")
        if not self.content and not (self.role == "assistant" and called):
            raise PydanticCustomError("too_short", "It needs a part at least", {FIELD: "content"})
        if self.role == "tool" and not self.tool_call_id:
            raise missing("tool_call_id")
        if self.role == "function" and not self.name:
            raise missing("name")
        return self

    @property
    def image(self) -> int | None:
        """The place of the first image among the parts; None when there is none."""
        return next((place for place, part in enumerate(self.content or ()) if part.is_image), None)

    def for_engine(self) -> JsonObject:
        """The message as chat templates know it: plain text, `developer` as `system`; with an image, parts."""
        message: JsonObject = {"role": "system" if self.role == "developer" else self.role}
        message["content"] = self._content()
        for field in ("name", "tool_call_id"):
            if (value := getattr(self, field)) is not None:
                message[field] = value
        if self.tool_calls:
            message["tool_calls"] = [call.model_dump() for call in self.tool_calls]
        return message

    def _content(self) -> str | list[JsonObject] | None:
        if self.content is None:
            return self.refusal
        if self.image is not None:
            return [part.for_engine() for part in self.content]
        return "".join(part.said for part in self.content)


Conversation = Annotated[list[ChatMessage], Field(min_length=1), COUNTABLE]


def for_engine(messages: Sequence[ChatMessage]) -> list[JsonObject]:
    """The conversation as chat templates know it; calls of functions become calls of tools, which templates know."""
    told: list[JsonObject] = []
    call_id = "call_0"
    for place, message in enumerate(messages):
        said = message.for_engine()
        if message.function_call is not None:
            call_id = f"call_{place}"
            call = {"id": call_id, "type": "function", "function": message.function_call.model_dump()}
            said["tool_calls"] = [*said.get("tool_calls", ()), call]
        elif message.role == "function":
            said |= {"role": "tool", "tool_call_id": call_id}
        told.append(said)
    return told


def image_names(messages: Sequence[ChatMessage]) -> list[str]:
    """What errors call each image."""
    return [
        f"messages[{place}].content[{number}].{_IMAGE}"
        for place, message in enumerate(messages)
        for number, part in enumerate(message.content or ())
        if part.is_image
    ]


def file_names(messages: Sequence[ChatMessage]) -> list[str]:
    """What errors call each document."""
    return [
        f"messages[{place}].content[{number}].{_FILE}"
        for place, message in enumerate(messages)
        for number, part in enumerate(message.content or ())
        if part.type == _FILE
    ]


def check_eyes(messages: Sequence[ChatMessage], model_id: str, *, sees: bool) -> None:
    """Raises InvalidArgumentError: there is an image, and the model cannot see."""
    for name in () if sees else image_names(messages):
        raise InvalidArgumentError(
            f"Model '{model_id}' cannot see images; send text only, or ask one that 'sees' (GET /v1/models).",
            param=name,
            code="unsupported_content",
        )
