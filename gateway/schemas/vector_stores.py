"""/v1/vector_stores and what is below it: what may be sent, within OpenAI's bounds."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError

from gateway.schemas.common import NO_NUL, Metadata, RequestModel, Text
from gateway.schemas.tools import FileReference

MAX_FILTER_LEVELS = 8

AttributeKey = Annotated[str, StringConstraints(max_length=64)]
AttributeValue = Annotated[str, StringConstraints(max_length=512)] | bool | int | float
Attributes = Annotated[dict[AttributeKey, AttributeValue], Field(max_length=16)]
"""At most 16 pairs of a key of up to 64 characters, and a text of up to 512, a number or a boolean."""
Name = Annotated[str, StringConstraints(max_length=256), NO_NUL]


class AutoChunking(RequestModel):
    """800 tokens a chunk, of which 400 overlap."""

    type: Literal["auto"]


class ChunkSizes(RequestModel):
    """Chosen sizes."""

    max_chunk_size_tokens: Annotated[int, Field(ge=100, le=4096)]
    chunk_overlap_tokens: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _overlaps_by_half(self) -> Self:
        if self.chunk_overlap_tokens > self.max_chunk_size_tokens // 2:
            raise PydanticCustomError(
                "invalid_value", "chunk_overlap_tokens must not exceed half of max_chunk_size_tokens"
            )
        return self


class StaticChunking(RequestModel):
    """Chunks of chosen sizes."""

    type: Literal["static"]
    static: ChunkSizes


ChunkingStrategy = Annotated[AutoChunking | StaticChunking, Field(discriminator="type")]


class ExpiresAfter(RequestModel):
    """After how many days without use a vector store expires."""

    anchor: Literal["last_active_at"]
    days: Annotated[int, Field(ge=1, le=365)]


class CreateVectorStore(RequestModel):
    """A new vector store."""

    name: Name | None = None
    description: Annotated[str, StringConstraints(max_length=512), NO_NUL] | None = None
    file_ids: Annotated[list[FileReference], Field(max_length=500)] | None = None
    chunking_strategy: ChunkingStrategy | None = None
    expires_after: ExpiresAfter | None = None
    metadata: Metadata | None = None


class ModifyVectorStore(RequestModel):
    """Changes of a vector store: the fields sent, where null clears."""

    name: Name | None = None
    expires_after: ExpiresAfter | None = None
    metadata: Metadata | None = None


class CreateVectorStoreFile(RequestModel):
    """An upload that is added to a vector store."""

    file_id: FileReference
    chunking_strategy: ChunkingStrategy | None = None
    attributes: Attributes | None = None


class UpdateAttributes(RequestModel):
    """A file's new attributes; null clears them."""

    attributes: Attributes | None


class CreateFileBatch(RequestModel):
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


class Comparison(RequestModel):
    """An attribute compared with a value."""

    type: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
    key: AttributeKey
    value: AttributeValue | Annotated[list[str | int | float], Field(max_length=1000)]

    @model_validator(mode="after")
    def _has_its_kind_of_value(self) -> Self:
        if isinstance(self.value, list) != (self.type in {"in", "nin"}):
            raise PydanticCustomError("invalid_value", "'in' and 'nin' take a list, every other comparison one value")
        return self


class Compound(RequestModel):
    """Filters of which all, or any, must hold."""

    type: Literal["and", "or"]
    filters: Annotated[list[Filter], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _is_shallow(self) -> Self:
        if levels(self) > MAX_FILTER_LEVELS:
            raise PydanticCustomError("invalid_value", f"Filters may be nested at most {MAX_FILTER_LEVELS} levels deep")
        return self


Filter = Comparison | Compound


def levels(filters: Filter) -> int:
    """How deep filters are nested."""
    return 1 + max(map(levels, filters.filters)) if isinstance(filters, Compound) else 1


class HybridSearch(RequestModel):
    """How much meanings count, and how much words; their proportion matters."""

    embedding_weight: Annotated[float, Field(ge=0, le=1_000_000)]
    text_weight: Annotated[float, Field(ge=0, le=1_000_000)]

    @model_validator(mode="after")
    def _counts_something(self) -> Self:
        if not self.embedding_weight + self.text_weight > 0:
            raise PydanticCustomError("invalid_value", "One of the weights at least must be greater than 0")
        return self


class RankingOptions(RequestModel):
    """How results are ranked, and which are good enough. There is one ranker, so any name of OpenAI's means it."""

    ranker: Literal["none", "auto", "default-2024-11-15"] | None = None
    score_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    hybrid_search: HybridSearch | None = None


Query = Annotated[Text, StringConstraints(min_length=1, max_length=65_536)]


class SearchVectorStore(RequestModel):
    """What is looked for in a vector store."""

    query: Query | Annotated[list[Query], Field(min_length=1, max_length=32)]
    filters: Filter | None = None
    max_num_results: Annotated[int, Field(ge=1, le=50)] | None = None
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
