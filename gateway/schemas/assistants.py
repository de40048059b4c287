"""POST /v1/assistants and /v1/assistants/{assistant_id}: what may be sent, in OpenAI's and in Jan's spelling."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from gateway.models.lookup import ANY_MODEL
from gateway.schemas.common import NO_NUL, JsonObject, Metadata, Temperature, TopP
from gateway.schemas.elsewhere import RefusesElsewheres
from gateway.schemas.response_format import ResponseFormat
from gateway.schemas.tool_resources import ChangedToolResources, NewToolResources, ToolResources
from gateway.schemas.tools import ONE_OF_A_NAME, FileReference, Tool
from jan.errors import InvalidArgumentError
from jan.ids import ModelId

# A list that a person reads, and short in its file.
_MAX_MODELS = 128


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _is_model_name(name: str) -> str:
    try:
        return name if name == ANY_MODEL else ModelId.parse(name)
    except InvalidArgumentError as error:
        raise PydanticCustomError("invalid_value", "This cannot be the id of a model") from error


def _auto_is_none(value: Any) -> Any:
    return None if value == "auto" else value


ModelName = Annotated[str, AfterValidator(_is_model_name)]
"""A model's id, or `*` for any. It need not be here yet."""
Instructions = Annotated[str, StringConstraints(max_length=256_000), NO_NUL]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
ResponseFormatOption = Annotated[ResponseFormat | None, BeforeValidator(_auto_is_none)]
"""OpenAI's `response_format` where it may also say "auto", which is what leaving it out means."""


class AssistantFields(RefusesElsewheres):
    """What creating and modifying have in common. From `avatar` on the fields are Jan's.

    `models` names all models, `model` the first of them, which answers.
    """

    model: ModelName | None = None
    name: Annotated[str, StringConstraints(max_length=256), NO_NUL] | None = None
    description: Annotated[str, StringConstraints(max_length=512), NO_NUL] | None = None
    instructions: Instructions | None = None
    tools: Annotated[list[Tool], Field(max_length=128), ONE_OF_A_NAME] | None = None
    tool_resources: ToolResources | None = None
    metadata: Metadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    response_format: ResponseFormatOption = None
    reasoning_effort: ReasoningEffort | None = None
    avatar: Annotated[str, StringConstraints(max_length=4096), NO_NUL] | None = None
    file_ids: Annotated[list[FileReference], Field(max_length=20)] | None = None
    parameters: JsonObject | None = None
    settings: JsonObject | None = None
    thread_location: Annotated[str, StringConstraints(max_length=4096), NO_NUL] | None = None
    models: Annotated[list[ModelName], Field(max_length=_MAX_MODELS)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _both_spellings(cls, body: Any) -> Any:
        """Jan's drafts have `model` and `models`, each with one name or several; those of OpenAI's `model` lead."""
        if not isinstance(body, dict):
            return body
        models = [*_listed(body.get("model")), *_listed(body.get("models"))]
        return body | {"model": models[0], "models": models} if models else body


class CreateAssistant(AssistantFields):
    """A new assistant."""

    model: ModelName
    tool_resources: NewToolResources | None = None


class ModifyAssistant(AssistantFields):
    """Changes of an assistant: the fields sent, where null clears. A model cannot be cleared, so null leaves it."""

    tool_resources: ChangedToolResources | None = None
