"""POST /v1/threads and /v1/threads/{thread_id}: what may be sent, in OpenAI's and in Jan's spelling."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from gateway.schemas.assistants import Instructions, ModelName
from gateway.schemas.common import COUNTABLE, NO_NUL, JsonObject, Metadata, RequestModel
from gateway.schemas.messages import CreateMessage
from gateway.schemas.tool_resources import ChangedToolResources, NewToolResources, ToolResources
from jan.errors import InvalidArgumentError
from jan.ids import AssistantId

MAX_ASSISTANTS = 32
MAX_MODELS = 128


def _is_assistant_id(text: str) -> str:
    try:
        return AssistantId.parse(text)
    except InvalidArgumentError as error:
        raise PydanticCustomError("invalid_value", "This cannot be the id of an assistant") from error


def _blank_is_none(value: Any) -> Any:
    return value or None


Title = Annotated[str, StringConstraints(max_length=1024), NO_NUL]


class ThreadModel(RequestModel):
    """The model of a thread, with what the thread overrides of it. Jan's first draft called the id `name`."""

    id: Annotated[ModelName | None, BeforeValidator(_blank_is_none)] = Field(
        default=None, validation_alias=AliasChoices("id", "name")
    )
    settings: JsonObject | None = None
    parameters: JsonObject | None = None

    @model_validator(mode="before")
    @classmethod
    def _id_alone(cls, value: Any) -> Any:
        return {"id": value} if isinstance(value, str) else value


class ThreadAssistant(RequestModel):
    """Who answers in a thread, with what the thread overrides. Jan 0.6 calls the first two `id` and `name`."""

    assistant_id: Annotated[str, AfterValidator(_is_assistant_id)] | None = Field(
        default=None, validation_alias=AliasChoices("assistant_id", "id")
    )
    assistant_name: Title | None = Field(default=None, validation_alias=AliasChoices("assistant_name", "name"))
    instructions: Instructions | None = None
    model: ThreadModel | None = None

    @model_validator(mode="before")
    @classmethod
    def _id_alone(cls, value: Any) -> Any:
        return {"assistant_id": value} if isinstance(value, str) else value


class ThreadFields(RequestModel):
    """What creating and modifying have in common. `title` and `assistants` are Jan's."""

    metadata: Metadata | None = None
    tool_resources: ToolResources | None = None
    title: Title | None = None
    assistants: Annotated[list[ThreadAssistant], Field(max_length=MAX_ASSISTANTS)] | None = None


class CreateThread(ThreadFields):
    """A new thread. `models` is of Jan's first draft: its first one is `assistants[0].model`, the others wait."""

    tool_resources: NewToolResources | None = None
    messages: Annotated[list[CreateMessage] | None, COUNTABLE] = None
    models: Annotated[list[ThreadModel], Field(max_length=MAX_MODELS)] | None = None


class ModifyThread(ThreadFields):
    """Changes of a thread: the fields sent, where null clears."""

    tool_resources: ChangedToolResources | None = None


class ClearThread(RequestModel):
    """Clearing a thread: nothing is said of it."""


class CloneThread(RequestModel):
    """A copy of a thread: the same title unless another is sent."""

    title: Title | None = None
