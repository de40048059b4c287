"""Items: what is said in the Responses API, and what may be sent of it (OpenAI's InputItem)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag, model_validator
from pydantic_core import PydanticCustomError

from gateway.schemas.common import COUNTABLE, MAX_PARTS, NO_NUL, RequestModel, Text, missing
from gateway.schemas.compactions import unpack
from gateway.schemas.namespaces import Namespace, NamespacedName
from gateway.schemas.sent_files import SentFile
from gateway.schemas.vector_stores import MAX_RESULTS, Attributes
from jan.errors import InvalidArgumentError

CallId = Annotated[str, StringConstraints(min_length=1, max_length=256), NO_NUL]
_REFERENCE = "item_reference"
_KNOWN_ITEMS = (
    *("message", "function_call", "function_call_output", "file_search_call", "reasoning", "compaction"),
    _REFERENCE,
)
_FILE, _IMAGE = "input_file", "input_image"
_KNOWN_PARTS = ("input_text", "output_text", "text", "refusal")


def _as_parts(content: Any) -> Any:
    return [{"type": "input_text", "text": content}] if isinstance(content, str) else content


def _only_text(part: Any) -> Any:
    """Refuse a part that no model here is shown, by its type."""
    return _only(part, _KNOWN_PARTS)


def _only_shown(part: Any) -> Any:
    """The same where documents and images may stand."""
    return _only(part, (*_KNOWN_PARTS, _FILE, _IMAGE))


def _only(part: Any, known: tuple[str, ...]) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind not in known:
        message = "Content of type '{kind}' is not supported by this server"
        raise PydanticCustomError("unsupported_content", message, {"kind": kind[:64]})
    return part


def _part_tag(part: Any) -> str:
    """In capitals, so that errors leave it out when they name a field."""
    kind = part.get("type") if isinstance(part, dict) else None
    return "FILE" if kind == _FILE else "IMAGE" if kind == _IMAGE else "TEXT"


class TextPart(RequestModel):
    """A text; an output comes back with what its answer said of it."""

    type: Literal["input_text", "output_text", "text", "refusal"]
    text: Text | None = None
    refusal: Text | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if (self.refusal if self.type == "refusal" else self.text) is None:
            raise missing("refusal" if self.type == "refusal" else "text")
        return self

    @property
    def said(self) -> str:
        """The text, whichever kind it is."""
        return self.text or self.refusal or ""


class ImagePart(RequestModel):
    """An image for a model that sees: an address, the image itself as a `data:` URL, or an upload."""

    type: Literal["input_image"]
    image_url: Annotated[str, StringConstraints(min_length=1, pattern="^(https?://|data:image/)"), NO_NUL] | None = None
    file_id: Annotated[str, StringConstraints(max_length=128)] | None = None
    detail: Literal["auto", "low", "high", "original"] | None = None

    @model_validator(mode="after")
    def _says_where_it_is(self) -> Self:
        if (self.image_url is None) == (self.file_id is None):
            raise PydanticCustomError(
                "missing", "An image needs one of {names}", {"names": "'image_url' and 'file_id'"}
            )
        return self


class FilePart(SentFile):
    """A document, whose text the model is shown."""

    type: Literal["input_file"]
    file_url: str | None = None
    detail: Literal["auto", "low", "high"] | None = None

    @model_validator(mode="after")
    def _says_where_it_is(self) -> Self:
        if self.detail == "high":
            message = "Of files models here are shown the text alone: leave out the 'detail' 'high'"
            raise PydanticCustomError("unsupported_content", message)
        if self.file_url is not None:
            message = "Files are not fetched for a model: send 'file_data' or 'file_id', not 'file_url'"
            raise PydanticCustomError("unsupported_content", message)
        return self._with_one_source()


class ReadFilePart(FilePart):
    """A document that was read."""

    text: str

    @model_validator(mode="after")
    def _says_where_it_is(self) -> Self:
        return self


Parts = Annotated[list[Annotated[TextPart, BeforeValidator(_only_text)]], Field(min_length=1, max_length=MAX_PARTS)]


ShownPart = Annotated[
    Annotated[TextPart, Tag("TEXT")] | Annotated[ImagePart, Tag("IMAGE")] | Annotated[FilePart, Tag("FILE")],
    Discriminator(_part_tag),
    BeforeValidator(_only_shown),
]
ShownParts = Annotated[list[ShownPart], Field(min_length=1, max_length=MAX_PARTS)]


class MessageItem(RequestModel):
    """Something that somebody said."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Annotated[ShownParts, BeforeValidator(_as_parts)]


class Caller(RequestModel):
    """Who called a function: the model itself."""

    type: Literal["direct"]


class OfFunction(RequestModel):
    """What both of the next have in common: nobody but the model calls a function."""

    namespace: Namespace | None = None
    caller: Caller | None = None


class FunctionCallItem(OfFunction):
    """A call of a function that an earlier response made, sent along."""

    type: Literal["function_call"]
    call_id: CallId
    name: NamespacedName
    arguments: Text


class FunctionOutputItem(OfFunction):
    """What a function that the client ran gave back; without a call's id one that the client ran unasked."""

    type: Literal["function_call_output"]
    call_id: CallId | None = None
    name: NamespacedName | None = None
    output: Annotated[Parts, BeforeValidator(_as_parts)]

    @model_validator(mode="after")
    def _says_what_gave_it(self) -> Self:
        if self.call_id is None and self.name is None:
            raise missing("call_id")
        return self

    @property
    def text(self) -> str:
        """The output as models read it."""
        return "\n".join(part.said for part in self.output)


class FoundText(RequestModel):
    """A piece of a file that a search found."""

    file_id: Annotated[str, StringConstraints(max_length=256), NO_NUL] | None = None
    filename: Annotated[str, StringConstraints(max_length=255), NO_NUL] | None = None
    text: Text | None = None
    score: float | None = None
    attributes: Attributes | None = None


class FileSearchCallItem(RequestModel):
    """A search of files that an earlier response made, sent along; without `results` nobody knows what it found."""

    type: Literal["file_search_call"]
    queries: Annotated[list[Text], Field(max_length=32)]
    results: Annotated[list[FoundText], Field(max_length=MAX_RESULTS)] | None = None


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


class ItemReference(RequestModel):
    """An item that was said before, by its id. OpenAI lets the type be left out."""

    type: Literal["item_reference"] | None = None
    id: Annotated[str, StringConstraints(min_length=1)]


def image_names(items: Sequence[AnyItem]) -> list[str]:
    """What errors call each image."""
    return [
        f"input[{place}].content[{number}].{'image_url' if part.file_id is None else 'file_id'}"
        for place, item in enumerate(items)
        for number, part in enumerate(item.content if isinstance(item, MessageItem) else ())
        if isinstance(part, ImagePart)
    ]


def check_eyes(items: Sequence[AnyItem], model_id: str, *, sees: bool) -> None:
    """Raises InvalidArgumentError: there is an image, and the model cannot see."""
    for name in () if sees else image_names(items):
        raise InvalidArgumentError(
            f"Model '{model_id}' cannot see images; send text only, or ask one that 'sees' (GET /v1/models).",
            param=name,
            code="unsupported_content",
        )


def _kind_of(item: Any) -> str:
    if not isinstance(item, dict):
        return "message"
    return str(item.get("type") or (_REFERENCE if "id" in item and "role" not in item else "message"))


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
    | Annotated[FileSearchCallItem, Tag("FILE_SEARCH_CALL")]
    | Annotated[ReasoningItem, Tag("REASONING")]
    | Annotated[CompactionItem, Tag("COMPACTION")]
    | Annotated[ItemReference, Tag("ITEM_REFERENCE")],
    Discriminator(_tag_of),
]
NewItem: TypeAlias = (
    MessageItem | FunctionCallItem | FunctionOutputItem | FileSearchCallItem | ReasoningItem | CompactionItem
)
AnyItem: TypeAlias = NewItem | ItemReference


def _as_items(value: Any) -> Any:
    if value is None:
        return []
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


Items = Annotated[list[Annotated[Item, BeforeValidator(_only_known)]], BeforeValidator(_as_items), COUNTABLE]
"""A text stands for one message of the user's, null for none."""
