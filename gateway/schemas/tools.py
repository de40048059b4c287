"""Tools and their resources: OpenAI's and Jan's, kept as sent once their shape is right."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError

from gateway.schemas.common import NO_NUL, JsonObject, SentObject, Text, missing, once
from gateway.schemas.response_format import check_parameters

FileReference = Annotated[str, StringConstraints(min_length=1, max_length=256), NO_NUL]
"""The id of an uploaded file or a vector store, as other objects mention it."""


class FunctionDefinition(SentObject):
    """A function that the client runs."""

    name: Annotated[str, StringConstraints(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    description: Text | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None

    @model_validator(mode="after")
    def _is_bindable(self) -> Self:
        check_parameters(self.name, self.parameters, strict=self.strict, field="parameters")
        return self


class RankingOptions(SentObject):
    """Which search results are good enough."""

    model_config = ConfigDict(extra="forbid")

    ranker: Literal["auto", "default_2024_08_21"] | None = None
    score_threshold: Annotated[float, Field(ge=0, le=1)]


class FileSearchOptions(SentObject):
    """How files are searched."""

    model_config = ConfigDict(extra="forbid")

    max_num_results: Annotated[int, Field(ge=1, le=50)] | None = None
    ranking_options: RankingOptions | None = None


class Tool(SentObject):
    """A tool of OpenAI's (the first three) or Jan's; Jan's keep their own fields, `enabled` and `settings`."""

    type: Literal["function", "file_search", "code_interpreter", "retrieval", "web_browsing"]
    function: FunctionDefinition | None = None
    file_search: FileSearchOptions | None = None

    @model_validator(mode="after")
    def _has_its_function(self) -> Self:
        if self.type == "function" and self.function is None:
            raise missing("function")
        return self

    def as_sent(self) -> JsonObject:
        """Without null: it means absent, and OpenAI's tools have none."""
        return self.model_dump(exclude_unset=True, exclude_none=True)


def _function_name(tool: Tool) -> str | None:
    return tool.function.name if tool.type == "function" and tool.function is not None else None


ONE_OF_A_NAME = once(_function_name, ".function.name")
"""For lists of tools."""


class CodeInterpreterResources(SentObject):
    """Files that code may read."""

    file_ids: Annotated[list[FileReference], Field(max_length=20)] | None = None


class FileSearchResources(SentObject):
    """Vector stores that are searched."""

    vector_store_ids: Annotated[list[FileReference], Field(max_length=1)] | None = None
    vector_stores: list[JsonObject] | None = None

    @field_validator("vector_stores")
    @classmethod
    def _makes_no_store(cls, stores: list[JsonObject] | None) -> list[JsonObject] | None:
        if stores:
            raise PydanticCustomError(
                "unsupported_parameter", "Vector stores cannot be made in passing on this server; name an existing one"
            )
        return stores


RESOURCES_PARTLY = {"tool_resources": "`file_search.vector_stores` is refused: name a store that exists"}
"""For docs/compatibility.md, of every schema that has `tool_resources`."""


class ToolResources(SentObject):
    """What the tools of an assistant or a thread work on."""

    code_interpreter: CodeInterpreterResources | None = None
    file_search: FileSearchResources | None = None

    def as_sent(self) -> JsonObject:
        """Without null either: it means absent, and OpenAI's object has none."""
        return self.model_dump(exclude_unset=True, exclude_none=True)
