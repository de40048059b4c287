"""What the tools of an assistant or a thread work on: OpenAI's `tool_resources`, kept as sent."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from gateway.http.refusals import FIELD
from gateway.schemas.common import ClosedModel, JsonObject, Metadata, SentObject
from gateway.schemas.tools import FileReference
from gateway.schemas.vector_stores import ChunkingStrategy

# As many as a store holds.
MAX_FILES = 10_000


def _empty_is_none(stores: list[Any] | None) -> list[Any] | None:
    return stores or None


class CodeInterpreterResources(SentObject):
    """Files that code may read."""

    file_ids: Annotated[list[FileReference], Field(max_length=20)] | None = None


class FileSearchResources(SentObject):
    """Vector stores that are searched."""

    vector_store_ids: Annotated[list[FileReference], Field(max_length=1)] | None = None


class NamedStores(FileSearchResources):
    """Those of what exists already; OpenAI makes stores only together with an assistant or a thread."""

    vector_stores: list[JsonObject] | None = None

    @field_validator("vector_stores")
    @classmethod
    def _makes_no_store(cls, stores: list[JsonObject] | None) -> list[JsonObject] | None:
        if stores:
            message = "A vector store is made only with a new assistant or thread; make it first and name it"
            raise PydanticCustomError("unsupported_parameter", message)
        return stores


class NewVectorStore(ClosedModel):
    """A vector store that is made together with what searches it."""

    file_ids: Annotated[list[FileReference], Field(max_length=MAX_FILES)] | None = None
    chunking_strategy: ChunkingStrategy | None = None
    metadata: Metadata | None = None


class NewStores(FileSearchResources):
    """Those of a new assistant or thread: either a store that exists, or one that is to be made."""

    vector_stores: Annotated[list[NewVectorStore] | None, Field(max_length=1), AfterValidator(_empty_is_none)] = None

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.vector_stores is not None and self.vector_store_ids is not None:
            message = "Say either 'vector_store_ids' or 'vector_stores'"
            raise PydanticCustomError("invalid_value", message, {FIELD: "vector_stores"})
        return self


class ToolResources(SentObject):
    """What both kinds below have."""

    code_interpreter: CodeInterpreterResources | None = None
    file_search: FileSearchResources | None = None

    def as_sent(self) -> JsonObject:
        """Without null either: it means absent, and OpenAI's object has none."""
        return self.model_dump(exclude_unset=True, exclude_none=True)


class ChangedToolResources(ToolResources):
    """Of an assistant or a thread that exists."""

    file_search: NamedStores | None = None


class NewToolResources(ToolResources):
    """Of a new assistant or thread."""

    file_search: NewStores | None = None

    @property
    def new_store(self) -> NewVectorStore | None:
        """The store that is to be made."""
        return next(iter((self.file_search and self.file_search.vector_stores) or ()), None)

    def naming(self, store_id: str) -> Self:
        """The same with the made store's id for what was said of it, as OpenAI answers."""
        named = {"vector_stores": None, "vector_store_ids": [store_id]}
        search = (self.file_search or NewStores()).model_copy(update=named)
        return self.model_copy(update={"file_search": search})
