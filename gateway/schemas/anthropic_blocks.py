"""What is said in Anthropic's Messages API, and what may be sent of it: blocks, and messages made of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, StringConstraints, Tag, model_validator
from pydantic_core import PydanticCustomError

from gateway.schemas.common import COUNTABLE, MAX_PARTS, JsonObject, RequestModel, Text, missing

ToolId = Annotated[str, StringConstraints(pattern="^[a-zA-Z0-9_-]{1,128}$")]
ToolName = Annotated[str, StringConstraints(pattern="^[a-zA-Z0-9_-]{1,128}$")]
Said = Annotated[Text, StringConstraints(min_length=1)]
Base64 = Annotated[str, StringConstraints(min_length=1, pattern=r"^[A-Za-z0-9+/\r\n]+={0,2}\s*$")]


class Sent(RequestModel):
    """A part of a request; as Anthropic has it, a field that nobody knows is refused, unless it is null.

    Its clients send blocks of an answer back with every field that they know of, and null for those that it had not.
    """

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        return {name: one for name, one in value.items() if one is not None} if isinstance(value, dict) else value


class CacheControl(Sent):
    """A hint about the prompt cache; engines here keep as much as they have room for."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class Block(Sent):
    """What every block may bear."""

    cache_control: CacheControl | None = None


def refused(message: str, **context: str) -> PydanticCustomError:
    """The error for content that is known and that no model here is shown."""
    return PydanticCustomError("unsupported_content", message, dict(context))


def tag_of(block: Any) -> str:
    """The type of a block, in capitals, so that errors leave it out when they name a field."""
    kind = block.get("type") if isinstance(block, dict) else getattr(block, "type", None)
    return str(kind).upper()


def only(*known: str) -> BeforeValidator:
    """Refuse by its name a block, or what else has a `type`, that is none of these."""

    def check(block: Any) -> Any:
        kind = block.get("type") if isinstance(block, dict) else ""
        if not isinstance(kind, str):
            raise missing("type")
        if kind and kind not in known:
            raise refused("Type '{kind}' is not supported here by this server", kind=kind[:64])
        return block

    return BeforeValidator(check)


class TextBlock(Block):
    """A text."""

    type: Literal["text"]
    text: Said
    citations: list[JsonObject] | None = None

    @model_validator(mode="before")
    @classmethod
    def _cites_nothing(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("citations"):
            raise refused("Citations are not supported by this server; send the text without them")
        return value


def _as_blocks(content: Any) -> Any:
    """A text stands for one block; an empty one for none."""
    return ([{"type": "text", "text": content}] if content else []) if isinstance(content, str) else content


AS_BLOCKS = BeforeValidator(_as_blocks)
PlainTexts = Annotated[list[Annotated[TextBlock, only("text")]], Field(min_length=1, max_length=MAX_PARTS), AS_BLOCKS]
"""Texts alone, or one text."""


class Base64Source(Sent):
    """An image itself."""

    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: Base64

    @property
    def address(self) -> str:
        """The image as a `data:` URL."""
        return f"data:{self.media_type};base64,{''.join(self.data.split())}"


class UrlSource(Sent):
    """Where an image lies."""

    type: Literal["url"]
    url: Annotated[Text, StringConstraints(pattern="^https?://")]

    @property
    def address(self) -> str:
        """Its URL."""
        return self.url


class Transformations(Sent):
    """What may be done to an image before it is shown; one that is too large is made smaller here."""

    oversized_image: Literal["downsize"] | None = None


class ImageBlock(Block):
    """An image, for a model that sees."""

    type: Literal["image"]
    transformations: Transformations | None = None
    source: Annotated[
        Annotated[Base64Source, Tag("BASE64")] | Annotated[UrlSource, Tag("URL")],
        Discriminator(tag_of),
        only("base64", "url"),
    ]


class PdfSource(Sent):
    """A PDF itself."""

    type: Literal["base64"]
    media_type: Literal["application/pdf"]
    data: Base64


class UrlPdfSource(Sent):
    """Where a PDF lies."""

    type: Literal["url"]
    url: Annotated[Text, StringConstraints(pattern="^https?://")]


class TextSource(Sent):
    """A text itself."""

    type: Literal["text"]
    media_type: Literal["text/plain"]
    data: Said


ContentBlock = Annotated[
    Annotated[TextBlock, Tag("TEXT")] | Annotated[ImageBlock, Tag("IMAGE")],
    Discriminator(tag_of),
    only("text", "image"),
]


class ContentSource(Sent):
    """Texts and images that make a document."""

    type: Literal["content"]
    content: Annotated[list[ContentBlock], Field(min_length=1, max_length=MAX_PARTS), AS_BLOCKS]


class CitationsConfig(Sent):
    """Whether the answer shall cite the document, which no model here can do."""

    enabled: bool | None = None

    @model_validator(mode="after")
    def _are_off(self) -> Self:
        if self.enabled:
            raise refused("Citations are not supported by this server; leave them off")
        return self


class DocumentBlock(Block):
    """A document, whose text the model is shown."""

    type: Literal["document"]
    source: Annotated[
        Annotated[PdfSource, Tag("BASE64")]
        | Annotated[UrlPdfSource, Tag("URL")]
        | Annotated[TextSource, Tag("TEXT")]
        | Annotated[ContentSource, Tag("CONTENT")],
        Discriminator(tag_of),
        only("base64", "url", "text", "content"),
    ]
    title: Annotated[Text, StringConstraints(max_length=500)] | None = None
    context: Text | None = None
    citations: CitationsConfig | None = None


class ReadDocument(DocumentBlock):
    """A document that was read, with what the model is shown of it; nobody sends one."""

    shown: list[TextBlock | ImageBlock]


class SearchResultBlock(Block):
    """What a search found, whose text the model is shown."""

    type: Literal["search_result"]
    source: Said
    title: Said
    content: PlainTexts
    citations: CitationsConfig | None = None


class ThinkingBlock(Sent):
    """What a model thought before an earlier answer; taken, and not shown to it again."""

    type: Literal["thinking"]
    thinking: Text
    signature: Text = ""


class RedactedThinkingBlock(Sent):
    """The same, unreadable."""

    type: Literal["redacted_thinking"]
    data: Text


class Caller(Sent):
    """Who called a tool: always the model itself."""

    type: Literal["direct"]


class ToolUseBlock(Block):
    """A call that the model made earlier in the conversation."""

    type: Literal["tool_use"]
    id: ToolId
    name: ToolName
    input: JsonObject
    caller: Caller | None = None


ResultBlock = Annotated[
    Annotated[TextBlock, Tag("TEXT")]
    | Annotated[ImageBlock, Tag("IMAGE")]
    | Annotated[DocumentBlock, Tag("DOCUMENT")]
    | Annotated[SearchResultBlock, Tag("SEARCH_RESULT")],
    Discriminator(tag_of),
]


class ToolResultBlock(Block):
    """What a tool that the client ran gave back."""

    type: Literal["tool_result"]
    tool_use_id: ToolId
    content: Annotated[
        list[Annotated[ResultBlock, only("text", "image", "document", "search_result")]],
        Field(max_length=MAX_PARTS),
        AS_BLOCKS,
    ] = Field(default=[])
    is_error: bool | None = None


UserBlock = Annotated[
    Annotated[TextBlock, Tag("TEXT")]
    | Annotated[ImageBlock, Tag("IMAGE")]
    | Annotated[DocumentBlock, Tag("DOCUMENT")]
    | Annotated[SearchResultBlock, Tag("SEARCH_RESULT")]
    | Annotated[ToolResultBlock, Tag("TOOL_RESULT")],
    Discriminator(tag_of),
]
AssistantBlock = Annotated[
    Annotated[TextBlock, Tag("TEXT")]
    | Annotated[ThinkingBlock, Tag("THINKING")]
    | Annotated[RedactedThinkingBlock, Tag("REDACTED_THINKING")]
    | Annotated[ToolUseBlock, Tag("TOOL_USE")],
    Discriminator(tag_of),
]


class UserMessage(Sent):
    """A turn of the person's, or what the person's tools gave back."""

    role: Literal["user"]
    content: Annotated[
        list[Annotated[UserBlock, only("text", "image", "document", "search_result", "tool_result")]],
        Field(min_length=1),
        AS_BLOCKS,
    ]


class AssistantMessage(Sent):
    """A turn of the model's; empty where it had nothing to say."""

    role: Literal["assistant"]
    content: Annotated[
        list[Annotated[AssistantBlock, only("text", "thinking", "redacted_thinking", "tool_use")]], AS_BLOCKS
    ]


class SystemMessage(Sent):
    """Instructions in the middle of a conversation."""

    role: Literal["system"]
    content: PlainTexts


def _role_of(message: Any) -> str:
    role = message.get("role") if isinstance(message, dict) else getattr(message, "role", None)
    return str(role).upper()


Message = Annotated[
    Annotated[UserMessage, Tag("USER")]
    | Annotated[AssistantMessage, Tag("ASSISTANT")]
    | Annotated[SystemMessage, Tag("SYSTEM")],
    Discriminator(_role_of, custom_error_type="invalid_value", custom_error_message="A role is user or assistant"),
]
Messages = Annotated[list[Message], Field(min_length=1), COUNTABLE]
