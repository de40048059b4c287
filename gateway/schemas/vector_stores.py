"""/v1/vector_stores and what is below it: what may be sent, within OpenAI's bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, StringConstraints, Tag, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from gateway.schemas.common import NO_NUL, ClosedModel, Metadata, one_of
from gateway.schemas.tools import FileReference

MAX_FILTER_LEVELS = 8
MAX_RESULTS = 50
"""More are never asked for at once."""


def _kind_of(sent: Any, by_field: Mapping[str, str]) -> Any:
    """The `type` of what was sent; where none is said, the one that a field gives away."""
    if not isinstance(sent, dict):
        return getattr(sent, "type", None)
    return sent.get("type", next((kind for field, kind in by_field.items() if field in sent), None))


def _kind_of_value(value: Any) -> str | None:
    """In capitals, as all names of branches, so that errors leave them out when they name a field."""
    match value:
        case bool():
            return "BOOLEAN"
        case int() | float():
            return "NUMBER"
        case str():
            return "TEXT"
        case _:
            return None


AttributeKey = Annotated[str, StringConstraints(max_length=64)]
AttributeText = Annotated[str, StringConstraints(max_length=512)]
AttributeValue = Annotated[
    Annotated[AttributeText, Tag("TEXT")] | Annotated[bool, Tag("BOOLEAN")] | Annotated[int | float, Tag("NUMBER")],
    Discriminator(
        _kind_of_value,
        custom_error_type="invalid_type",
        custom_error_message="It must be a text, a number, true or false",
    ),
]
Attributes = Annotated[dict[AttributeKey, AttributeValue], Field(max_length=16)]
"""At most 16 pairs of a key of up to 64 characters, and a text of up to 512, a number or a boolean."""
Name = Annotated[str, StringConstraints(max_length=256), NO_NUL]


_STRATEGY = one_of("auto", "static")


class AutoChunking(ClosedModel):
    """800 tokens a chunk, of which 400 overlap."""

    type: Annotated[Literal["auto"], _STRATEGY]


class ChunkSizes(ClosedModel):
    """Chosen sizes."""

    max_chunk_size_tokens: Annotated[int, Field(ge=100, le=4096)]
    chunk_overlap_tokens: Annotated[int, Field(ge=0)]

    @field_validator("chunk_overlap_tokens")
    @classmethod
    def _is_half_at_most(cls, overlap: int, info: ValidationInfo) -> int:
        if overlap > info.data.get("max_chunk_size_tokens", overlap * 2) // 2:
            raise PydanticCustomError("invalid_value", "It must not exceed half of max_chunk_size_tokens")
        return overlap


class StaticChunking(ClosedModel):
    """Chunks of chosen sizes."""

    type: Literal["static"]
    static: ChunkSizes


def _is_static(strategy: Any) -> str:
    return "STATIC" if _kind_of(strategy, {"static": "static"}) == "static" else "AUTO"


ChunkingStrategy = Annotated[
    Annotated[AutoChunking, Tag("AUTO")] | Annotated[StaticChunking, Tag("STATIC")], Discriminator(_is_static)
]


class ExpiresAfter(ClosedModel):
    """After how many days without use a vector store expires."""

    anchor: Literal["last_active_at"]
    days: Annotated[int, Field(ge=1, le=365)]


class CreateVectorStore(ClosedModel):
    """A new vector store."""

    name: Name | None = None
    description: Annotated[str, StringConstraints(max_length=512), NO_NUL] | None = None
    file_ids: Annotated[list[FileReference], Field(max_length=500)] | None = None
    chunking_strategy: ChunkingStrategy | None = None
    expires_after: ExpiresAfter | None = None
    metadata: Metadata | None = None


class ModifyVectorStore(ClosedModel):
    """Changes of a vector store: the fields sent, where null clears."""

    name: Name | None = None
    expires_after: ExpiresAfter | None = None
    metadata: Metadata | None = None


class CreateVectorStoreFile(ClosedModel):
    """An upload that is added to a vector store."""

    file_id: FileReference
    chunking_strategy: ChunkingStrategy | None = None
    attributes: Attributes | None = None


class UpdateAttributes(ClosedModel):
    """A file's new attributes; null clears them."""

    attributes: Attributes | None


class CreateFileBatch(ClosedModel):
    """Uploads that are added together: `file_ids`, which share what is said beside them, or `files`."""

    file_ids: Annotated[list[FileReference], Field(min_length=1, max_length=2000)] | None = None
    files: Annotated[list[CreateVectorStoreFile], Field(min_length=1, max_length=2000)] | None = None
    chunking_strategy: ChunkingStrategy | None = None
    attributes: Attributes | None = None

    @model_validator(mode="after")
    def _names_files_once(self) -> Self:
        if (self.file_ids is None) == (self.files is None):
            raise PydanticCustomError("invalid_value", "Either 'file_ids' or 'files' must be given")
        return self


def _kind_of_item(value: Any) -> str | None:
    kind = _kind_of_value(value)
    return None if kind == "BOOLEAN" else kind


ListedValue = Annotated[
    Annotated[str, Tag("TEXT")] | Annotated[int | float, Tag("NUMBER")],
    Discriminator(
        _kind_of_item, custom_error_type="invalid_type", custom_error_message="It must be a text or a number"
    ),
]


def _is_list(value: Any) -> str:
    return "LIST" if isinstance(value, list) else "ONE"


_LISTED = frozenset({"in", "nin"})
_FILTER = one_of("eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "and", "or")


class Comparison(ClosedModel):
    """An attribute compared with a value."""

    type: Annotated[Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"], _FILTER]
    key: AttributeKey
    value: Annotated[
        Annotated[AttributeValue, Tag("ONE")] | Annotated[list[ListedValue], Field(max_length=1000), Tag("LIST")],
        Discriminator(_is_list),
    ]

    @field_validator("value")
    @classmethod
    def _is_of_its_kind(cls, value: Any, info: ValidationInfo) -> Any:
        if "type" in info.data and isinstance(value, list) != (info.data["type"] in _LISTED):
            raise PydanticCustomError("invalid_value", "'in' and 'nin' take a list, every other comparison one value")
        return value


class Compound(ClosedModel):
    """Filters of which all, or any, must hold."""

    type: Literal["and", "or"]
    filters: Annotated[list[Filter], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _is_shallow(self) -> Self:
        if levels(self) > MAX_FILTER_LEVELS:
            raise PydanticCustomError("invalid_value", f"Filters may be nested at most {MAX_FILTER_LEVELS} levels deep")
        return self


def _is_compound(filters: Any) -> str:
    return "COMPOUND" if _kind_of(filters, {"filters": "and"}) in ("and", "or") else "COMPARISON"


Filter = Annotated[
    Annotated[Comparison, Tag("COMPARISON")] | Annotated[Compound, Tag("COMPOUND")], Discriminator(_is_compound)
]


def levels(filters: Comparison | Compound) -> int:
    """How deep filters are nested."""
    return 1 + max(map(levels, filters.filters)) if isinstance(filters, Compound) else 1


class HybridSearch(ClosedModel):
    """How much meanings count, and how much words; their proportion matters."""

    embedding_weight: Annotated[float, Field(ge=0, le=1_000_000)]
    text_weight: Annotated[float, Field(ge=0, le=1_000_000)]

    @model_validator(mode="after")
    def _counts_something(self) -> Self:
        if not self.embedding_weight + self.text_weight > 0:
            raise PydanticCustomError("invalid_value", "One of the weights at least must be greater than 0")
        return self


class RankingOptions(ClosedModel):
    """How results are ranked, and which are good enough. There is one ranker, so any name of OpenAI's means it."""

    ranker: Literal["none", "auto", "default-2024-11-15"] | None = None
    score_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    hybrid_search: HybridSearch | None = None


Query = Annotated[str, StringConstraints(min_length=1, max_length=65_536), NO_NUL]


class SearchVectorStore(ClosedModel):
    """What is looked for in a vector store."""

    query: Annotated[
        Annotated[Query, Tag("ONE")] | Annotated[list[Query], Field(min_length=1, max_length=32), Tag("LIST")],
        Discriminator(_is_list),
    ]
    filters: Filter | None = None
    max_num_results: Annotated[int, Field(ge=1, le=MAX_RESULTS)] | None = None
    ranking_options: RankingOptions | None = None
    rewrite_query: bool | None = None

    _partly: ClassVar[dict[str, str]] = {"rewrite_query": "refused when true: what is asked is what is searched"}

    @field_validator("rewrite_query")
    @classmethod
    def _is_not_rewritten(cls, wanted: bool | None) -> bool | None:
        if wanted:
            raise PydanticCustomError("unsupported_parameter", "'rewrite_query' is not supported: ask as you search")
        return wanted


Compound.model_rebuild()
