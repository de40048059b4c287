"""POST /v1/threads/{thread_id}/messages and …/{message_id}: what may be sent."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from gateway.schemas.common import NO_NUL, JsonObject, Metadata, RequestModel, Text, missing
from gateway.schemas.tools import FileReference

Detail = Literal["auto", "low", "high"]


def _as_value(text: Any) -> Any:
    """OpenAI's requests spell a text plainly, its answers and Jan's files as an object."""
    return {"value": _said(text)} if isinstance(text, str) else text


def _said(text: str) -> str:
    """OpenAI's service refuses an empty text, of which its document says nothing. Jan's clients send empty objects."""
    if not text:
        raise PydanticCustomError("string_too_short", "Message content must be non-empty", {"min_length": 1})
    return text


def _as_parts(content: Any) -> Any:
    return [{"type": "text", "text": _said(content)}] if isinstance(content, str) else content


class TextValue(RequestModel):
    """A text with its annotations."""

    value: Text
    annotations: list[JsonObject] | None = None


class ImageUrl(RequestModel):
    """An image somewhere else, or in a data URL."""

    url: Annotated[str, StringConstraints(min_length=1), NO_NUL]
    detail: Detail | None = None


class ImageFile(RequestModel):
    """An uploaded image."""

    file_id: FileReference
    detail: Detail | None = None


class ContentPart(RequestModel):
    """A piece of a message: the field that its type names is there."""

    type: Literal["text", "image_url", "image_file"]
    text: Annotated[TextValue, BeforeValidator(_as_value)] | None = None
    image_url: ImageUrl | None = None
    image_file: ImageFile | None = None

    @model_validator(mode="after")
    def _has_its_value(self) -> Self:
        if getattr(self, self.type) is None:
            raise missing(self.type)
        return self

    def as_stored(self) -> JsonObject:
        """The part as OpenAI's answers and Jan's files have it."""
        value = getattr(self, self.type).model_dump(exclude_none=True)
        if self.type == "text":
            value["annotations"] = value.get("annotations") or []
        return {"type": self.type, self.type: value}


Content = Annotated[list[ContentPart], Field(min_length=1), BeforeValidator(_as_parts)]


class AttachmentTool(RequestModel):
    """A tool that may read an attached file."""

    type: Literal["code_interpreter", "file_search"]


class Attachment(RequestModel):
    """A file that comes with a message."""

    file_id: FileReference
    tools: Annotated[list[AttachmentTool], Field(max_length=128)]


MAX_ATTACHMENTS = 100


class CreateMessage(RequestModel):
    """A new message. Only people and assistants speak in OpenAI's threads. `file_ids` is Jan's way to attach files."""

    role: Literal["user", "assistant"]
    content: Content
    attachments: Annotated[list[Attachment], Field(max_length=MAX_ATTACHMENTS)] | None = None
    file_ids: Annotated[list[FileReference], Field(max_length=MAX_ATTACHMENTS)] | None = None
    metadata: Metadata | None = None


class ModifyMessage(RequestModel):
    """Changes of a message: its metadata, where null clears."""

    metadata: Metadata | None = None
