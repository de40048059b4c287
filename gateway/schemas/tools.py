"""Tools: OpenAI's and Jan's, kept as sent once their shape is right."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

from gateway.http.refusals import FIELD
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


_TOLD = ("function", "file_search", "code_interpreter", "web_browsing")


def _known(kind: Any) -> Any:
    """Its error leaves out `retrieval`, which is refused where nothing stands beside it."""
    if kind != "retrieval" and kind not in _TOLD:
        raise PydanticKnownError("literal_error", {"expected": ", ".join(f"'{told}'" for told in _TOLD)})
    return kind


class Tool(SentObject):
    """A tool of OpenAI's (the first three) or Jan's; Jan's keep their own fields, `enabled` and `settings`."""

    type: Annotated[
        Literal["function", "file_search", "code_interpreter", "retrieval", "web_browsing"], BeforeValidator(_known)
    ]
    function: FunctionDefinition | None = None
    file_search: FileSearchOptions | None = None

    enabled: Any = None

    @model_validator(mode="after")
    def _is_of_today(self) -> Self:
        """OpenAI's old `retrieval` is its type alone; Jan's entry of that name says more."""
        if self.type == "retrieval" and not (self.model_fields_set | (self.model_extra or {}).keys()) - {"type"}:
            message = "'retrieval' was renamed: a tool of type 'file_search' searches files"
            raise PydanticCustomError("unsupported_parameter", message, {FIELD: "type"})
        return self

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
